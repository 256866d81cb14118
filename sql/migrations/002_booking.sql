-- A seat is bought: what a booking owes, its lines, the work that is still to do outside PostgreSQL, what Stripe said.

-- Which moves of a booking are legal. booking/states.py has the same table; a test compares the two.
CREATE TABLE booking_move (
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);
INSERT INTO booking_move (from_state, to_state) VALUES
    ('pending_payment', 'authorized'),
    ('pending_payment', 'confirmed'),
    ('pending_payment', 'cancelling'),
    ('pending_payment', 'expiring'),
    ('pending_payment', 'cancelled'),
    ('pending_payment', 'expired'),
    ('pending_payment', 'failed'),
    ('cancelling', 'authorized'),
    ('cancelling', 'confirmed'),
    ('cancelling', 'cancelled'),
    ('expiring', 'authorized'),
    ('expiring', 'confirmed'),
    ('expiring', 'expired'),
    ('authorized', 'confirmed'),
    ('authorized', 'failed'),
    ('confirmed', 'partially_refunded'),
    ('confirmed', 'refunded'),
    ('confirmed', 'disputed'),
    ('partially_refunded', 'refunded'),
    ('partially_refunded', 'disputed'),
    ('disputed', 'confirmed'),
    ('disputed', 'charged_back');

ALTER TABLE booking
    ADD COLUMN buyer_name      text,
    ADD COLUMN buyer_email     text,
    ADD COLUMN amount          bigint,          -- minor units, all lines, fees included
    ADD COLUMN currency        text,
    ADD COLUMN prices_version  bigint,
    ADD COLUMN expires_at      timestamptz,     -- when an unpaid claim begins to be given up
    ADD COLUMN intent_id       text,            -- the PaymentIntent, once Stripe has made it
    ADD COLUMN client_secret   text,            -- lets the buyer's browser confirm it
    ADD COLUMN intent_status   text,            -- as last retrieved
    ADD COLUMN looked_at       timestamptz,     -- when the poller last asked Stripe
    ADD COLUMN changed         timestamptz NOT NULL DEFAULT now(),
    ADD CONSTRAINT one_booking_per_intent UNIQUE (intent_id),
    ADD CONSTRAINT booking_amount_is_an_amount CHECK (amount BETWEEN 0 AND 9007199254740991),
    -- A row without a buyer is a refused checkout: it only keeps its id from ever becoming a claim.
    ADD CONSTRAINT booking_is_whole CHECK (
        state = 'failed' OR num_nonnulls(buyer_name, buyer_email, amount, currency, prices_version, expires_at) = 6);

CREATE INDEX booking_by_holder ON booking (holder, created DESC, id);
CREATE INDEX booking_unfinished ON booking (expires_at)
    WHERE state IN ('pending_payment', 'authorized', 'cancelling', 'expiring');

CREATE TABLE booking_line (
    booking_id  text NOT NULL REFERENCES booking,
    line        integer NOT NULL,
    seat_id     text,
    area_id     text,
    type        text NOT NULL,
    amount      bigint NOT NULL,
    fee         bigint NOT NULL,
    tax         bigint NOT NULL,
    PRIMARY KEY (booking_id, line),
    CONSTRAINT line_is_a_seat_or_a_place CHECK (num_nonnulls(seat_id, area_id) = 1),
    CONSTRAINT line_is_an_amount CHECK (amount >= 0 AND fee >= 0 AND tax BETWEEN 0 AND amount + fee)
);

-- The counter that keeps a standing area from being oversold, whatever Redis says.
ALTER TABLE event_area
    ADD COLUMN taken integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT area_is_never_oversold CHECK (taken BETWEEN 0 AND capacity);

-- Every change of a booking's state, written by the trigger below and never edited.
CREATE TABLE booking_history (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES booking,
    from_state  text,
    to_state    text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX booking_history_by_booking ON booking_history (booking_id, number);

CREATE FUNCTION booking_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.state = OLD.state THEN
            RETURN NEW;
        END IF;
        IF NOT EXISTS (SELECT FROM booking_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
            RAISE EXCEPTION 'booking % may not go from % to %', NEW.id, OLD.state, NEW.state
                USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_moves_legally';
        END IF;
        INSERT INTO booking_history (booking_id, from_state, to_state) VALUES (NEW.id, OLD.state, NEW.state);
        NEW.changed := clock_timestamp();
        RETURN NEW;
    END IF;
    INSERT INTO booking_history (booking_id, from_state, to_state) VALUES (NEW.id, NULL, NEW.state);
    RETURN NEW;
END $$;
CREATE TRIGGER booking_moves_on_update BEFORE UPDATE ON booking FOR EACH ROW EXECUTE FUNCTION booking_moves();
CREATE TRIGGER booking_moves_on_insert AFTER INSERT ON booking FOR EACH ROW EXECUTE FUNCTION booking_moves();

-- What is still to be done outside PostgreSQL. Written in the transaction that decides it, sent at least once, with one
-- key for all its tries; whoever sends takes a lease first.
CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES booking,
    event_id    text NOT NULL REFERENCES event,
    act         text NOT NULL,
    key         text NOT NULL,                -- the idempotency key at Stripe
    tries       integer NOT NULL DEFAULT 0,   -- 0: it was never sent
    attempt     integer NOT NULL DEFAULT 0,   -- part of the key at Stripe; rises where a key is worn out
    due         timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    done        timestamptz,
    struck      boolean NOT NULL DEFAULT false,  -- done by not being done: decided before it was ever sent
    fault       text,                         -- why the last try did not succeed
    created     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT outbox_key_is_unique UNIQUE (key),
    CONSTRAINT outbox_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'capture_intent', 'sell_hold', 'free_booking', 'restore_hold')),
    -- What was struck must never have been sent.
    CONSTRAINT struck_is_unsent CHECK (NOT struck OR tries = 0)
);
CREATE INDEX outbox_open ON outbox (due) WHERE done IS NULL;
CREATE INDEX outbox_by_booking ON outbox (booking_id, id);

-- Stripe's notices, kept before they are answered; each once, whatever order they come in.
CREATE TABLE stripe_notice (
    id          text PRIMARY KEY,             -- evt_…
    type        text NOT NULL,
    intent_id   text,
    received    timestamptz NOT NULL DEFAULT now(),
    done        timestamptz
);
CREATE INDEX stripe_notice_open ON stripe_notice (received) WHERE done IS NULL;
