-- Money is given back, whole or in part: what was decided, what Stripe made of it, and which places it set free.

-- A refund is decided once for its reason's key, and then never changed but in what became of it.
CREATE TABLE refund (
    id          text PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES booking,
    key         text NOT NULL,                -- stands for one reason: a request, or Stripe's own id
    amount      bigint NOT NULL,              -- minor units of the booking's currency
    venue       bigint NOT NULL,              -- whose money goes back …
    fees        bigint NOT NULL,
    tax         bigint NOT NULL,
    owed        bigint NOT NULL,              -- … and what was the buyer's already: an earlier refund that came back
    lines       integer[] NOT NULL,           -- whole lines, whose places go on sale again; empty where it is an amount
    reason      text NOT NULL,
    staff_id    text,                         -- NULL: made at Stripe, not here
    state       text NOT NULL DEFAULT 'pending',
    stripe_id   text,                         -- re_…, from when on Stripe has it
    fault       text,                         -- why it failed
    created     timestamptz NOT NULL DEFAULT clock_timestamp(),
    accepted    timestamptz,                  -- when Stripe took it: the money has left, the places are free
    looked_at   timestamptz,                  -- when Stripe was last asked about it
    CONSTRAINT one_refund_per_key UNIQUE (booking_id, key),
    CONSTRAINT one_refund_per_stripe_id UNIQUE (stripe_id),
    CONSTRAINT refund_is_shared_out CHECK (
        least(venue, fees, tax, owed) >= 0 AND amount = venue + fees + tax + owed
        AND (amount > 0 OR cardinality(lines) > 0)),
    CONSTRAINT refund_state_is_known CHECK (state IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT refund_is_taken_whole CHECK (
        (stripe_id IS NULL OR accepted IS NOT NULL) AND (state <> 'succeeded' OR accepted IS NOT NULL))
);
CREATE INDEX refund_by_booking ON refund (booking_id, created, id);
CREATE INDEX refund_unfinished ON refund (looked_at) WHERE state = 'pending' AND accepted IS NOT NULL;

-- Never more than was captured, no line twice, and only as booking/states.py says: whoever writes, and however many do
-- at once, for each waits here for the booking's row.
CREATE FUNCTION refund_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    paid bigint;
    back bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (OLD.id, OLD.booking_id, OLD.key, OLD.amount, OLD.venue, OLD.fees, OLD.tax, OLD.owed, OLD.lines, OLD.reason,
            OLD.staff_id, OLD.created)
           IS DISTINCT FROM
           (NEW.id, NEW.booking_id, NEW.key, NEW.amount, NEW.venue, NEW.fees, NEW.tax, NEW.owed, NEW.lines, NEW.reason,
            NEW.staff_id, NEW.created)
           OR OLD.accepted IS NOT NULL AND (NEW.stripe_id, NEW.accepted) IS DISTINCT FROM (OLD.stripe_id, OLD.accepted)
        THEN
            RAISE EXCEPTION 'refund % was decided otherwise', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_stays_as_decided';
        END IF;
        IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
            ('pending', 'succeeded'), ('pending', 'failed'), ('succeeded', 'failed')) THEN
            RAISE EXCEPTION 'refund % may not go from % to %', OLD.id, OLD.state, NEW.state
                USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_moves_legally';
        END IF;
        RETURN NEW;
    END IF;
    SELECT amount INTO paid FROM booking
    WHERE id = NEW.booking_id AND state IN ('confirmed', 'partially_refunded', 'refunded', 'disputed') FOR UPDATE;
    SELECT coalesce(sum(amount), 0) INTO back FROM refund WHERE booking_id = NEW.booking_id AND state <> 'failed';
    IF paid IS NULL OR back + NEW.amount > paid THEN
        RAISE EXCEPTION 'booking % gives back more than was captured', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_is_within_capture';
    END IF;
    IF EXISTS (SELECT FROM refund WHERE booking_id = NEW.booking_id AND lines && NEW.lines
               AND (state <> 'failed' OR accepted IS NOT NULL)) THEN
        RAISE EXCEPTION 'booking % gives a line back twice', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'line_is_given_back_once';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refund_keeps_within BEFORE INSERT OR UPDATE ON refund FOR EACH ROW EXECUTE FUNCTION refund_keeps_within();
CREATE FUNCTION refund_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refunds are never forgotten'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_stays';
END $$;
CREATE TRIGGER refund_stays BEFORE DELETE ON refund FOR EACH STATEMENT EXECUTE FUNCTION refund_stays();

ALTER TABLE outbox
    ADD COLUMN refund_id text REFERENCES refund,  -- of refund and keep_places
    DROP CONSTRAINT outbox_act_is_known,
    ADD CONSTRAINT outbox_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'cancel_surplus', 'capture_intent', 'sell_hold', 'free_booking',
        'restore_hold', 'refund', 'keep_places')),
    ADD CONSTRAINT refund_is_named CHECK ((act IN ('refund', 'keep_places')) = (refund_id IS NOT NULL));

-- A part of a booking's places in an area may go back: its row then counts fewer, and the log says how many went.
CREATE OR REPLACE FUNCTION booking_areas_sold_or_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change (event_id, act, area_id, quantity, status, hold_id, holder, booking_id)
    SELECT now_is.event_id,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN 'sell' ELSE 'free' END,
           now_is.area_id,
           CASE WHEN was.state = now_is.state THEN was.quantity - now_is.quantity ELSE now_is.quantity END,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN 'sold' ELSE 'available' END,
           b.hold_id, b.holder, b.id
    FROM now_is
    JOIN was ON was.booking_id = now_is.booking_id AND was.area_id = now_is.area_id AND was.type = now_is.type
    JOIN booking b ON b.id = now_is.booking_id
    WHERE 'sold' IN (was.state, now_is.state)
      AND (was.state <> now_is.state OR was.quantity > now_is.quantity)
    ORDER BY now_is.area_id, now_is.type;
    RETURN NULL;
END $$;
