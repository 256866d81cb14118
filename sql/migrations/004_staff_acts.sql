-- What staff do to holds: their customers, the holds that never expire, and the log of who changed a seat, when and why.

-- Holders that the box office made for its customers. Staff hold seats for these only, never in a browser's name.
CREATE TABLE customer (
    holder    text PRIMARY KEY,
    staff_id  text NOT NULL,
    created   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT customer_holder_is_an_id CHECK (holder ~ '^[A-Za-z0-9-]{1,64}$')
);

-- A hold of the box office for a customer, without a deadline: adopt lays it over the inventory, so that it outlives
-- all that Redis holds. From the claim on, its booking decides what becomes of it.
CREATE TABLE staff_hold (
    hold_id          text PRIMARY KEY,
    event_id         text NOT NULL REFERENCES event ON DELETE CASCADE,
    holder           text NOT NULL REFERENCES customer,
    customer         text NOT NULL,           -- the customer's name, as the clerk wrote it
    reason           text NOT NULL,
    staff_id         text NOT NULL,
    state            text NOT NULL DEFAULT 'taking',
    seat_ids         text[] NOT NULL,
    seat_types       text[] NOT NULL,
    area_ids         text[] NOT NULL,
    area_types       text[] NOT NULL,
    area_quantities  integer[] NOT NULL,
    created          timestamptz NOT NULL DEFAULT now(),
    -- taking: asked of the inventory, whose answer is not on record yet (nobody was told that it is held); held: it is
    -- the customer's, whatever Redis says; ended: released.
    CONSTRAINT staff_hold_state_is_known CHECK (state IN ('taking', 'held', 'ended')),
    CONSTRAINT staff_hold_is_whole CHECK (
        cardinality(seat_ids) = cardinality(seat_types) AND cardinality(area_ids) = cardinality(area_types)
        AND cardinality(area_ids) = cardinality(area_quantities) AND cardinality(seat_ids) + cardinality(area_ids) > 0)
);
-- Only live ones are listed and laid over an inventory.
CREATE INDEX staff_hold_live ON staff_hold (event_id, created, hold_id) WHERE state <> 'ended';
-- Whether a staff hold became a booking is asked by its id.
CREATE INDEX booking_by_hold ON booking (hold_id);

-- The status-change log: what staff did to seats and places, and every sale and its undoing. Only ever added to.
-- Holders' own holds and releases are not in it: those are in the event's log in Redis, as far back as that goes.
CREATE TABLE status_change (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id    text NOT NULL REFERENCES event,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    act         text NOT NULL,
    seat_id     text,
    area_id     text,
    quantity    integer,                      -- places of the area
    status      text,                         -- what it is from here on; NULL: what it was before
    hold_id     text,
    holder      text,
    booking_id  text,
    staff_id    text,                         -- NULL: a buyer's doing
    reason      text,
    -- withdraw: a block that was written and then refused by the inventory, because the seat was held; sell and free
    -- are written by the triggers below, whoever sells.
    CONSTRAINT status_change_act_is_known CHECK (
        act IN ('block', 'unblock', 'withdraw', 'hold', 'release', 'move', 'sell', 'free')),
    CONSTRAINT status_change_status_is_known CHECK (status IN ('available', 'held', 'sold', 'house', 'kill')),
    CONSTRAINT status_change_is_of_a_seat_or_an_area CHECK (
        num_nonnulls(seat_id, area_id) = 1 AND (area_id IS NULL) = (quantity IS NULL)),
    CONSTRAINT status_change_has_somebody CHECK (num_nonnulls(staff_id, booking_id) > 0)
);
CREATE INDEX status_change_by_time ON status_change (event_id, at, number);
CREATE INDEX status_change_by_seat ON status_change (event_id, seat_id, at, number) WHERE seat_id IS NOT NULL;

-- Where the server signs in as a role that does not own the tables, grant it SELECT and INSERT here and nothing else.
-- The trigger refuses the owner as well.
REVOKE UPDATE, DELETE, TRUNCATE ON status_change FROM PUBLIC;
CREATE FUNCTION status_change_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the status-change log is only ever added to'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'status_change_stays';
END $$;
CREATE TRIGGER status_change_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON status_change
    FOR EACH STATEMENT EXECUTE FUNCTION status_change_stays();

-- One insert a statement, however many seats it sells.
CREATE FUNCTION booking_seats_sold_or_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change (event_id, act, seat_id, status, hold_id, holder, booking_id)
    SELECT now_is.event_id, CASE now_is.state WHEN 'sold' THEN 'sell' ELSE 'free' END, now_is.seat_id,
           CASE now_is.state WHEN 'sold' THEN 'sold' ELSE 'available' END, b.hold_id, b.holder, b.id
    FROM now_is
    JOIN was ON was.booking_id = now_is.booking_id AND was.seat_id = now_is.seat_id
    JOIN booking b ON b.id = now_is.booking_id
    WHERE was.state <> now_is.state AND 'sold' IN (was.state, now_is.state)
    ORDER BY now_is.seat_id;
    RETURN NULL;
END $$;
CREATE TRIGGER booking_seats_sold_or_freed AFTER UPDATE ON booking_seat
    REFERENCING OLD TABLE AS was NEW TABLE AS now_is
    FOR EACH STATEMENT EXECUTE FUNCTION booking_seats_sold_or_freed();

CREATE FUNCTION booking_areas_sold_or_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change (event_id, act, area_id, quantity, status, hold_id, holder, booking_id)
    SELECT now_is.event_id, CASE now_is.state WHEN 'sold' THEN 'sell' ELSE 'free' END, now_is.area_id,
           now_is.quantity, CASE now_is.state WHEN 'sold' THEN 'sold' ELSE 'available' END, b.hold_id, b.holder, b.id
    FROM now_is
    JOIN was ON was.booking_id = now_is.booking_id AND was.area_id = now_is.area_id AND was.type = now_is.type
    JOIN booking b ON b.id = now_is.booking_id
    WHERE was.state <> now_is.state AND 'sold' IN (was.state, now_is.state)
    ORDER BY now_is.area_id, now_is.type;
    RETURN NULL;
END $$;
CREATE TRIGGER booking_areas_sold_or_freed AFTER UPDATE ON booking_area
    REFERENCING OLD TABLE AS was NEW TABLE AS now_is
    FOR EACH STATEMENT EXECUTE FUNCTION booking_areas_sold_or_freed();
