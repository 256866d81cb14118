-- What is sold at the counter: for cash, at the house's card terminal, or given away. No Stripe has a part in it
-- (docs/decisions/023).

ALTER TABLE booking
    ADD COLUMN tender text,
    ADD COLUMN staff_id text,
    ADD COLUMN reason text,
    DROP CONSTRAINT booking_is_whole,
    -- A claim of nobody, at no price, or that never ends; and a refused checkout that is half a claim.
    ADD CONSTRAINT booking_is_whole CHECK (
        num_nonnulls(buyer_name, buyer_email, amount, prices_version, expires_at) = 5
        OR num_nonnulls(buyer_name, tender, amount, prices_version, expires_at) = 5
        OR state = 'failed' AND num_nonnulls(buyer_name, buyer_email, amount, prices_version, expires_at) = 0),
    ADD CONSTRAINT booking_tender_is_known CHECK (tender IN (
        'cash',             -- in the drawer
        'card_terminal',    -- at the counter's own terminal, whose provider owes it
        'comp')),           -- given away: what it would have cost is a comp_line's
    -- A counter sale of nobody's, and a clerk's name or reason on a sale that was none of theirs.
    ADD CONSTRAINT counter_sale_has_a_clerk CHECK (
        (tender IS NULL) = (staff_id IS NULL) AND (reason IS NULL OR tender IS NOT NULL)),
    -- What is given away costs nothing.
    ADD CONSTRAINT comp_costs_nothing CHECK (tender <> 'comp' OR amount = 0),
    -- What was taken at the counter waits for no charge, ends in none, and no bank takes it back.
    ADD CONSTRAINT counter_sale_is_paid_at_once CHECK (
        tender IS NULL OR state IN ('pending_payment', 'confirmed', 'partially_refunded', 'refunded'));

-- A counter sale is made and paid in one transaction; asked at the commit. Nothing would ever end one that waits.
CREATE FUNCTION counter_sale_is_sold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM booking WHERE id = NEW.id AND state = 'pending_payment') THEN
        RAISE EXCEPTION 'booking % was sold at the counter, and is not paid', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'counter_sale_is_sold';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER counter_sale_is_sold AFTER INSERT ON booking
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.tender IS NOT NULL)
    EXECUTE FUNCTION counter_sale_is_sold();

-- What the places of a booking that was given away would have cost: forgone, and no money of anybody's, so that the ledger
-- has none of it. Only ever added to; minor units of the booking's currency.
CREATE TABLE comp_line (
    booking_id  text NOT NULL,
    line        integer NOT NULL,
    amount      bigint NOT NULL,              -- as of a booking's line
    fee         bigint NOT NULL,
    tax         bigint NOT NULL,
    PRIMARY KEY (booking_id, line),
    FOREIGN KEY (booking_id, line) REFERENCES booking_line,
    CONSTRAINT comp_line_is_an_amount CHECK (amount >= 0 AND fee >= 0 AND tax BETWEEN 0 AND amount + fee)  -- As of lines.
);
-- Nothing is forgone of what was paid.
CREATE FUNCTION comp_lines_are_of_comps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN booking b ON b.id = added.booking_id WHERE b.tender IS DISTINCT FROM 'comp') THEN
        RAISE EXCEPTION 'only what is given away forgoes its price'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'comp_lines_are_of_comps';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER comp_lines_are_of_comps AFTER INSERT ON comp_line
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION comp_lines_are_of_comps();
CREATE TRIGGER comp_lines_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON comp_line
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

INSERT INTO ledger_account (name, side, says) VALUES
    ('cash_drawer',   'debit', 'cash: taken at the counter, not given back'),
    ('card_terminal', 'debit', 'taken by the counter''s terminal, not given back: its provider owes it');

-- The functions and triggers that a counter sale goes through, as they were but for what is said of it.

CREATE OR REPLACE FUNCTION bookings_made() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Who acts in this transaction, where a request said so; a claim is its holder's.
    actor     text := coalesce(nullif(current_setting('lml.actor_kind', true), ''), 'holder');
    actor_is  text := nullif(current_setting('lml.actor_id', true), '');
    came_from text := nullif(current_setting('lml.origin', true), '');
BEGIN
    INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, origin)
    SELECT id, event_id, NULL, state, actor, coalesce(actor_is, holder), coalesce(origin, came_from) FROM made;
    INSERT INTO payment (booking_id) SELECT id FROM made WHERE amount > 0 AND tender IS NULL;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION booking_moves() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    paid text;
BEGIN
    IF NOT EXISTS (SELECT FROM booking_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'booking % may not go from % to %', NEW.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_moves_legally';
    END IF;
    IF NEW.amount > 0 AND NEW.tender IS NULL THEN
        SELECT state INTO paid FROM payment WHERE booking_id = NEW.id;
        IF NOT EXISTS (SELECT FROM payment_fit WHERE booking_state = NEW.state AND payment_state = paid) THEN
            RAISE EXCEPTION 'booking % may not be % while its payment is %', NEW.id, NEW.state, paid
                USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_fits_its_payment';
        END IF;
    END IF;
    INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, reason, origin)
    VALUES (NEW.id, NEW.event_id, OLD.state, NEW.state,
            coalesce(nullif(current_setting('lml.actor_kind', true), ''), 'system'),
            nullif(current_setting('lml.actor_id', true), ''), coalesce(paid, NEW.tender),
            nullif(current_setting('lml.origin', true), ''));
    NEW.changed := clock_timestamp();
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION mail_of_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Whoever bought at the counter may have left no address.
    PERFORM write_next_mail(id, 'refunded') FROM booking WHERE id = NEW.booking_id AND buyer_email IS NOT NULL;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION mail_of_changed_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_next_mail(id, 'event_changed') FROM booking
    WHERE event_id = NEW.id AND state IN ('authorized', 'confirmed', 'partially_refunded', 'disputed')
      AND buyer_email IS NOT NULL ORDER BY id;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION booking_seats_sold_or_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change (event_id, act, seat_id, status, hold_id, holder, booking_id, staff_id, reason)
    SELECT now_is.event_id, CASE now_is.state WHEN 'sold' THEN 'sell' ELSE 'free' END, now_is.seat_id,
           CASE now_is.state WHEN 'sold' THEN 'sold' ELSE 'available' END, b.hold_id, b.holder, b.id,
           CASE now_is.state WHEN 'sold' THEN b.staff_id END,
           CASE now_is.state WHEN 'sold' THEN coalesce(b.reason, b.tender) END
    FROM now_is
    JOIN was ON was.booking_id = now_is.booking_id AND was.seat_id = now_is.seat_id
    JOIN booking b ON b.id = now_is.booking_id
    WHERE CASE WHEN place_may_move(was.state, now_is.state, b.state)
               THEN was.state <> now_is.state AND 'sold' IN (was.state, now_is.state)
               ELSE refuse_place(now_is.seat_id, was.state, now_is.state, b.state) END
    ORDER BY now_is.seat_id;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION booking_areas_sold_or_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change (event_id, act, area_id, quantity, status, hold_id, holder, booking_id, staff_id, reason)
    SELECT now_is.event_id,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN 'sell' ELSE 'free' END,
           now_is.area_id,
           CASE WHEN was.state = now_is.state THEN was.quantity - now_is.quantity ELSE now_is.quantity END,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN 'sold' ELSE 'available' END,
           b.hold_id, b.holder, b.id,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN b.staff_id END,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN coalesce(b.reason, b.tender) END
    FROM now_is
    JOIN was ON was.booking_id = now_is.booking_id AND was.area_id = now_is.area_id AND was.type = now_is.type
    JOIN booking b ON b.id = now_is.booking_id
    WHERE CASE WHEN place_may_move(was.state, now_is.state, b.state)
                    AND (was.quantity = now_is.quantity OR was.quantity > now_is.quantity AND was.state = 'sold')
               THEN 'sold' IN (was.state, now_is.state)
                    AND (was.state <> now_is.state OR was.quantity > now_is.quantity)
               ELSE refuse_place(now_is.area_id, was.state, now_is.state, b.state) END
    ORDER BY now_is.area_id, now_is.type;
    RETURN NULL;
END $$;

DROP TRIGGER transfer_awaits ON booking;
CREATE TRIGGER transfer_awaits AFTER UPDATE ON booking FOR EACH ROW
    WHEN (NEW.state = 'confirmed' AND NEW.amount > 0 AND NEW.tender IS NULL
          AND OLD.state IN ('pending_payment', 'cancelling', 'expiring', 'authorized'))
    EXECUTE FUNCTION transfer_awaits();
