-- A buyer's bank takes a payment back, for now or for good.

CREATE TABLE dispute (
    id          text PRIMARY KEY,             -- dp_… or du_…, Stripe's
    booking_id  text NOT NULL REFERENCES booking,
    amount      bigint NOT NULL,              -- minor units of the booking's currency
    reason      text NOT NULL,                -- the bank's
    state       text NOT NULL DEFAULT 'open',
    opened      timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed      timestamptz,
    looked_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dispute_is_an_amount CHECK (amount > 0),
    CONSTRAINT dispute_state_is_known CHECK (state IN ('open', 'won', 'lost')),
    CONSTRAINT dispute_is_closed_once CHECK ((state = 'open') = (closed IS NULL))
);
CREATE INDEX dispute_by_booking ON dispute (booking_id, opened, id);
CREATE INDEX dispute_open ON dispute (looked_at) WHERE state = 'open';

CREATE FUNCTION dispute_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'open' AND NEW.state <> OLD.state
       OR (OLD.id, OLD.booking_id, OLD.amount) IS DISTINCT FROM (NEW.id, NEW.booking_id, NEW.amount) THEN
        RAISE EXCEPTION 'dispute % is over', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'dispute_moves_legally';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER dispute_moves BEFORE UPDATE ON dispute FOR EACH ROW EXECUTE FUNCTION dispute_moves();

-- A dispute that was won leaves the booking as its refunds have it.
INSERT INTO booking_move (from_state, to_state) VALUES
    ('disputed', 'partially_refunded'),
    ('disputed', 'refunded');
