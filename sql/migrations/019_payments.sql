-- A booking's payment has a row of its own: its PaymentIntent, what Stripe said of it last, and every attempt that was
-- made at it (docs/decisions/020). The booking keeps what it is, whose, and what it costs.

-- Which moves of a payment are legal. booking/payment_states.py has the same table; a test compares the two.
CREATE TABLE payment_move (
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);
INSERT INTO payment_move (from_state, to_state) VALUES
    ('preparing', 'requires_payment_method'),
    ('preparing', 'requires_confirmation'),
    ('preparing', 'requires_action'),
    ('preparing', 'processing'),
    ('preparing', 'requires_capture'),
    ('preparing', 'canceled'),
    ('preparing', 'succeeded'),
    ('preparing', 'abandoned'),
    ('requires_payment_method', 'requires_confirmation'),
    ('requires_payment_method', 'requires_action'),
    ('requires_payment_method', 'processing'),
    ('requires_payment_method', 'requires_capture'),
    ('requires_payment_method', 'canceled'),
    ('requires_payment_method', 'succeeded'),
    ('requires_confirmation', 'requires_payment_method'),
    ('requires_confirmation', 'requires_action'),
    ('requires_confirmation', 'processing'),
    ('requires_confirmation', 'requires_capture'),
    ('requires_confirmation', 'canceled'),
    ('requires_confirmation', 'succeeded'),
    ('requires_action', 'requires_payment_method'),
    ('requires_action', 'requires_confirmation'),
    ('requires_action', 'processing'),
    ('requires_action', 'requires_capture'),
    ('requires_action', 'canceled'),
    ('requires_action', 'succeeded'),
    ('processing', 'requires_payment_method'),
    ('processing', 'requires_confirmation'),
    ('processing', 'requires_action'),
    ('processing', 'requires_capture'),
    ('processing', 'canceled'),
    ('processing', 'succeeded'),
    ('requires_capture', 'canceled'),
    ('requires_capture', 'succeeded');

-- What a booking that costs something needs of its payment before it may come to a state: no sale without an
-- authorisation, and no end before Stripe has said that nothing can be charged. The same module has it, too.
CREATE TABLE payment_fit (
    booking_state  text NOT NULL,
    payment_state  text NOT NULL,
    PRIMARY KEY (booking_state, payment_state)
);
INSERT INTO payment_fit (booking_state, payment_state) VALUES
    ('authorized', 'requires_capture'),
    ('confirmed', 'succeeded'),
    ('partially_refunded', 'succeeded'),
    ('refunded', 'succeeded'),
    ('disputed', 'succeeded'),
    ('charged_back', 'succeeded'),
    ('cancelled', 'canceled'),
    ('cancelled', 'abandoned'),
    ('expired', 'canceled'),
    ('expired', 'abandoned'),
    ('failed', 'canceled'),
    ('failed', 'abandoned');
-- While the charge is not decided nothing is asked of it.
INSERT INTO payment_fit (booking_state, payment_state)
SELECT b.state, p.state
FROM unnest(ARRAY['pending_payment', 'cancelling', 'expiring']) AS b (state),
     unnest(ARRAY['preparing', 'requires_payment_method', 'requires_confirmation', 'requires_action', 'processing',
                  'requires_capture', 'canceled', 'succeeded', 'abandoned']) AS p (state);

-- One for each booking that costs something, made with it.
CREATE TABLE payment (
    booking_id     text PRIMARY KEY REFERENCES booking,
    state          text NOT NULL DEFAULT 'preparing',
    intent_id      text,                      -- the PaymentIntent, once Stripe has made it
    client_secret  text,                      -- lets the buyer's browser confirm it
    looked_at      timestamptz,               -- when Stripe was last asked
    CONSTRAINT one_payment_per_intent UNIQUE (intent_id),
    CONSTRAINT payment_state_is_known CHECK (state IN (
        'preparing', 'requires_payment_method', 'requires_confirmation', 'requires_action', 'processing',
        'requires_capture', 'canceled', 'succeeded', 'abandoned')),
    CONSTRAINT payment_has_an_intent CHECK ((intent_id IS NULL) = (state IN ('preparing', 'abandoned')))
);
-- Only the undecided ones are asked about.
CREATE INDEX payment_undecided ON payment (looked_at) WHERE state IN (
    'requires_payment_method', 'requires_confirmation', 'requires_action', 'processing', 'requires_capture');

CREATE FUNCTION payment_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.booking_id <> OLD.booking_id OR NEW.intent_id <> OLD.intent_id
       OR NEW.state <> OLD.state
          AND NOT EXISTS (SELECT FROM payment_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'payment of booking % may not go from % to %', OLD.booking_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_moves_legally';
    END IF;
    RETURN NEW;
END $$;
-- A look that finds nothing new asks no function.
CREATE TRIGGER payment_moves BEFORE UPDATE ON payment FOR EACH ROW
    WHEN ((OLD.booking_id, OLD.state, OLD.intent_id) IS DISTINCT FROM (NEW.booking_id, NEW.state, NEW.intent_id))
    EXECUTE FUNCTION payment_moves();

-- Every attempt at Stripe: a call under a key of its own, however often it is sent. It is here before it is sent. An
-- attempt without an outcome is unknown, and only asking Stripe tells (reliability.md, D6).
CREATE TABLE payment_attempt (
    booking_id  text NOT NULL REFERENCES payment,
    key         text NOT NULL,                -- the idempotency key at Stripe
    act         text NOT NULL,
    tries       integer NOT NULL DEFAULT 1,   -- how often somebody set about sending it
    begun       timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended       timestamptz,
    outcome     text,
    fault       text,                         -- what Stripe said, or that it said nothing
    PRIMARY KEY (booking_id, key),
    CONSTRAINT attempt_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'cancel_surplus', 'capture_intent', 'void_intent', 'refund')),
    -- done: Stripe did it and said so; found: asked, Stripe had nothing left to do; refused: it never will;
    -- worn: it answers this key with the same failure for ever, and the next attempt has another.
    CONSTRAINT attempt_outcome_is_known CHECK (outcome IN ('done', 'found', 'refused', 'worn')),
    CONSTRAINT attempt_ends_whole CHECK ((outcome IS NULL) = (ended IS NULL))
);

CREATE FUNCTION attempt_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'attempt % ended otherwise', OLD.key
        USING ERRCODE = 'check_violation', CONSTRAINT = 'attempt_stays';
END $$;
CREATE TRIGGER attempt_stays BEFORE UPDATE ON payment_attempt FOR EACH ROW
    WHEN (OLD.outcome IS NOT NULL
          OR (OLD.booking_id, OLD.key, OLD.act, OLD.begun) IS DISTINCT FROM (NEW.booking_id, NEW.key, NEW.act, NEW.begun))
    EXECUTE FUNCTION attempt_stays();

-- What there is already, by what became of the booking. Its attempts of before are not known any more.
INSERT INTO payment (booking_id, state, intent_id, client_secret, looked_at)
SELECT id,
       CASE WHEN intent_id IS NULL THEN CASE WHEN state IN ('cancelled', 'expired', 'failed') THEN 'abandoned'
                                             ELSE 'preparing' END
            WHEN state IN ('cancelled', 'expired', 'failed') THEN 'canceled'
            WHEN state = 'authorized' THEN 'requires_capture'
            WHEN state NOT IN ('pending_payment', 'cancelling', 'expiring') THEN 'succeeded'
            ELSE coalesce(intent_status, 'requires_payment_method') END,
       intent_id, client_secret, looked_at
FROM booking WHERE amount > 0;

ALTER TABLE booking
    DROP COLUMN intent_id,
    DROP COLUMN client_secret,
    DROP COLUMN intent_status,
    DROP COLUMN looked_at;

CREATE OR REPLACE FUNCTION booking_moves() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Who acts in this transaction, where a request said so; a claim is its holder's, all else is ours.
    actor text := nullif(current_setting('lml.actor_kind', true), '');
    paid  text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.state = OLD.state THEN
            RETURN NEW;
        END IF;
        IF NOT EXISTS (SELECT FROM booking_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
            RAISE EXCEPTION 'booking % may not go from % to %', NEW.id, OLD.state, NEW.state
                USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_moves_legally';
        END IF;
        IF NEW.amount > 0 THEN
            SELECT state INTO paid FROM payment WHERE booking_id = NEW.id;
            IF NOT EXISTS (SELECT FROM payment_fit WHERE booking_state = NEW.state AND payment_state = paid) THEN
                RAISE EXCEPTION 'booking % may not be % while its payment is %', NEW.id, NEW.state, paid
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_fits_its_payment';
            END IF;
        END IF;
        INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, reason, origin)
        VALUES (NEW.id, NEW.event_id, OLD.state, NEW.state, coalesce(actor, 'system'),
                nullif(current_setting('lml.actor_id', true), ''), paid,
                nullif(current_setting('lml.origin', true), ''));
        NEW.changed := clock_timestamp();
        RETURN NEW;
    END IF;
    INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, origin)
    VALUES (NEW.id, NEW.event_id, NULL, NEW.state, coalesce(actor, 'holder'),
            coalesce(nullif(current_setting('lml.actor_id', true), ''), NEW.holder),
            coalesce(NEW.origin, nullif(current_setting('lml.origin', true), '')));
    IF NEW.amount > 0 THEN
        INSERT INTO payment (booking_id) VALUES (NEW.id);
    END IF;
    RETURN NEW;
END $$;
