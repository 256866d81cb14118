-- Whoever sells through the house and is paid for it: organisations, their venues and accounts at Stripe, what is
-- transferred to them, and what comes back (docs/decisions/021).

CREATE TABLE organisation (
    id              text PRIMARY KEY,
    name            text NOT NULL,
    currency        text NOT NULL,            -- what it is paid in: its events are sold in no other
    hold_back_days  integer NOT NULL,         -- from an event's start until its money is due
    created         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT organisation_id_is_an_id CHECK (id ~ '^[A-Za-z0-9-]{1,64}$'),
    CONSTRAINT organisation_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT organisation_holds_back CHECK (hold_back_days BETWEEN 0 AND 365)
);

-- What we keep of each ticket. A booking is settled by the terms that were good when it was made, so they are only ever
-- added to.
CREATE TABLE organisation_terms (
    organisation_id   text NOT NULL REFERENCES organisation,
    since             timestamptz NOT NULL DEFAULT clock_timestamp(),
    fee_basis_points  integer NOT NULL,       -- hundredths of a percent of the ticket's price
    fee_per_ticket    bigint NOT NULL,        -- minor units; of tickets that cost something
    PRIMARY KEY (organisation_id, since),
    CONSTRAINT terms_are_a_fee CHECK (fee_basis_points BETWEEN 0 AND 10000 AND fee_per_ticket BETWEEN 0 AND 1000000000000)
);

-- Which managers an organisation has; administrators see all.
CREATE TABLE organisation_member (
    organisation_id  text NOT NULL REFERENCES organisation,
    member_id        text NOT NULL REFERENCES staff ON DELETE CASCADE,  -- not staff_id, by which rows name who acts
    PRIMARY KEY (organisation_id, member_id)
);
CREATE INDEX organisation_member_by_staff ON organisation_member (member_id, organisation_id);

CREATE TABLE venue (
    id               text PRIMARY KEY,
    organisation_id  text NOT NULL REFERENCES organisation,
    name             text NOT NULL,
    created          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT venue_id_is_an_id CHECK (id ~ '^[A-Za-z0-9-]{1,64}$')
);
CREATE INDEX venue_by_organisation ON venue (organisation_id, id);

-- An event without a venue of somebody's is the house's own, and its money stays here.
ALTER TABLE event ADD COLUMN venue_id text REFERENCES venue;
CREATE INDEX event_by_venue ON event (venue_id, starts_at, id) WHERE venue_id IS NOT NULL;

-- Whose an event is decides whose its money is: settled before anything is sold, and in one currency.
CREATE FUNCTION event_fits_its_venue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.venue_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM venue v JOIN organisation o ON o.id = v.organisation_id
        WHERE v.id = NEW.venue_id AND o.currency = NEW.currency) THEN
        RAISE EXCEPTION 'event % is sold in another currency than its organisation is paid in', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'event_pays_in_its_currency';
    END IF;
    IF TG_OP = 'UPDATE' AND EXISTS (SELECT FROM booking WHERE event_id = NEW.id AND buyer_name IS NOT NULL) THEN
        RAISE EXCEPTION 'event % has been sold from: whose it is stays', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'event_keeps_its_venue';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER event_made_at_its_venue BEFORE INSERT ON event FOR EACH ROW
    WHEN (NEW.venue_id IS NOT NULL) EXECUTE FUNCTION event_fits_its_venue();
CREATE TRIGGER event_keeps_its_venue BEFORE UPDATE ON event FOR EACH ROW
    WHEN (OLD.venue_id IS DISTINCT FROM NEW.venue_id) EXECUTE FUNCTION event_fits_its_venue();

-- The account at Stripe that an organisation is paid to: as it was when Stripe was last asked.
CREATE TABLE connected_account (
    organisation_id    text PRIMARY KEY REFERENCES organisation,
    country            text NOT NULL,         -- ISO 3166, as it was opened
    attempt            integer NOT NULL DEFAULT 0,  -- of opening it: each has a key of its own at Stripe
    account_id         text,                  -- acct_…, once Stripe has opened it
    details_submitted  boolean NOT NULL DEFAULT false,
    charges_enabled    boolean NOT NULL DEFAULT false,
    payouts_enabled    boolean NOT NULL DEFAULT false,
    transfers_enabled  boolean NOT NULL DEFAULT false,  -- its capability is active
    begun              timestamptz NOT NULL DEFAULT clock_timestamp(),
    looked_at          timestamptz,           -- when Stripe was last asked
    noticed            timestamptz,           -- when Stripe last said that there is something to be asked
    CONSTRAINT one_organisation_per_account UNIQUE (account_id),
    CONSTRAINT account_country_is_iso CHECK (country ~ '^[A-Z]{2}$')
);
CREATE FUNCTION account_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'organisation % has the account %', OLD.organisation_id, OLD.account_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'account_stays';
END $$;
CREATE TRIGGER account_stays BEFORE UPDATE ON connected_account FOR EACH ROW
    WHEN (OLD.account_id IS NOT NULL AND OLD.account_id IS DISTINCT FROM NEW.account_id)
    EXECUTE FUNCTION account_stays();

-- All of it is on record; how often Stripe was asked is nobody's act.
CREATE TRIGGER audit_organisations AFTER INSERT OR UPDATE OR DELETE ON organisation FOR EACH ROW
    EXECUTE FUNCTION audit_rows('organisation', 'id', '', '{}', '{}');
CREATE TRIGGER audit_terms AFTER INSERT OR UPDATE OR DELETE ON organisation_terms FOR EACH ROW
    EXECUTE FUNCTION audit_rows('terms', 'organisation_id', '', '{}', '{}');
CREATE TRIGGER audit_members AFTER INSERT OR UPDATE OR DELETE ON organisation_member FOR EACH ROW
    EXECUTE FUNCTION audit_rows('member', 'organisation_id', '', '{}', '{}');
CREATE TRIGGER audit_venues AFTER INSERT OR UPDATE OR DELETE ON venue FOR EACH ROW
    EXECUTE FUNCTION audit_rows('venue', 'id', '', '{}', '{}');
CREATE TRIGGER audit_accounts AFTER INSERT OR UPDATE OR DELETE ON connected_account FOR EACH ROW
    EXECUTE FUNCTION audit_rows('connected_account', 'organisation_id', '', '{}', '{looked_at,noticed}');

-- What is an organisation's of one booking: one row from when its money was captured, one transfer at Stripe.
CREATE TABLE transfer (
    booking_id       text PRIMARY KEY REFERENCES payment,
    event_id         text NOT NULL REFERENCES event,
    organisation_id  text NOT NULL REFERENCES organisation,
    state            text NOT NULL DEFAULT 'waiting',
    venue            bigint,                  -- of the ticket prices, without tax …
    tax              bigint,                  -- … the tax in them, which the organisation owes the state …
    fee              bigint,                  -- … less what we keep: so much was due when it was decided
    netted           bigint,                  -- what of it was kept for what the organisation owed
    sent             bigint,                  -- what is transferred
    account_id       text,                    -- where to
    stripe_id        text,                    -- tr_…, from when on Stripe has it
    created          timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided          timestamptz,
    made             timestamptz,
    CONSTRAINT one_transfer_per_stripe_id UNIQUE (stripe_id),
    -- waiting: not due, or not to be decided yet; nothing: decided, and nothing is left to be sent.
    CONSTRAINT transfer_state_is_known CHECK (state IN ('waiting', 'decided', 'made', 'nothing')),
    CONSTRAINT transfer_is_decided_whole CHECK (
        num_nonnulls(venue, tax, fee, netted, sent, decided) = CASE WHEN state = 'waiting' THEN 0 ELSE 6 END),
    CONSTRAINT transfer_adds_up CHECK (sent >= 0 AND netted >= 0 AND greatest(venue + tax - fee, 0) = sent + netted),
    CONSTRAINT transfer_goes_somewhere CHECK ((coalesce(sent, 0) > 0) = (account_id IS NOT NULL)
        AND (state IN ('decided', 'made')) = (account_id IS NOT NULL)),
    CONSTRAINT transfer_is_made_whole CHECK (num_nonnulls(stripe_id, made) = CASE state WHEN 'made' THEN 2 ELSE 0 END)
);
CREATE INDEX transfer_waiting ON transfer (event_id) WHERE state = 'waiting';
CREATE INDEX transfer_by_event ON transfer (event_id, booking_id);
CREATE INDEX transfer_by_time ON transfer (made) WHERE made IS NOT NULL;

-- What an organisation owes back of one, and why: decided with the refund or the lost dispute that caused it.
CREATE TABLE transfer_reversal (
    id          text PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES transfer,
    cause       text NOT NULL,                -- refund:… or dispute:…
    venue       bigint NOT NULL,
    tax         bigint NOT NULL,
    fee         bigint NOT NULL,              -- what we give back of ours
    sought      bigint NOT NULL,              -- what Stripe is asked to reverse; the rest is a receivable at once
    key         text NOT NULL,                -- the outbox's
    state       text NOT NULL DEFAULT 'pending',
    stripe_id   text,                         -- trr_…
    fault       text,                         -- why Stripe refused it
    created     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended       timestamptz,
    CONSTRAINT one_reversal_per_cause UNIQUE (booking_id, cause),
    CONSTRAINT one_reversal_per_key UNIQUE (key),
    CONSTRAINT one_reversal_per_stripe_id UNIQUE (stripe_id),
    CONSTRAINT reversal_is_an_amount CHECK (sought BETWEEN 0 AND venue + tax - fee AND venue + tax - fee > 0),
    CONSTRAINT reversal_state_is_known CHECK (state IN ('pending', 'made', 'refused', 'nothing')),
    CONSTRAINT reversal_of_nothing_ends CHECK ((sought = 0) = (state = 'nothing')),
    CONSTRAINT reversal_is_made_whole CHECK (
        (state = 'pending') = (ended IS NULL) AND (state = 'made') = (stripe_id IS NOT NULL))
);
CREATE INDEX reversal_by_time ON transfer_reversal (ended) WHERE stripe_id IS NOT NULL;

-- What could not be taken back: it is kept of what the organisation is due next.
CREATE TABLE receivable (
    id               text PRIMARY KEY,
    organisation_id  text NOT NULL REFERENCES organisation,
    booking_id       text NOT NULL REFERENCES transfer,
    amount           bigint NOT NULL,         -- minor units of the organisation's currency
    recovered        bigint NOT NULL DEFAULT 0,
    reason           text NOT NULL,
    created          timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT receivable_is_an_amount CHECK (amount > 0),
    CONSTRAINT receivable_is_recovered_once CHECK (recovered BETWEEN 0 AND amount)
);
CREATE INDEX receivable_by_booking ON receivable (booking_id);
CREATE INDEX receivable_open ON receivable (organisation_id, created, id) WHERE recovered < amount;

-- Which transfer was kept for which receivable.
CREATE TABLE netting (
    receivable_id  text NOT NULL REFERENCES receivable,
    booking_id     text NOT NULL REFERENCES transfer,
    amount         bigint NOT NULL,
    PRIMARY KEY (receivable_id, booking_id),
    CONSTRAINT netting_is_an_amount CHECK (amount > 0)
);

-- From when a booking's money is at Stripe, a part of it is somebody's: the row is there before anybody could ask.
CREATE FUNCTION transfer_awaits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transfer (booking_id, event_id, organisation_id)
    SELECT NEW.id, NEW.event_id, v.organisation_id
    FROM event e JOIN venue v ON v.id = e.venue_id WHERE e.id = NEW.event_id
    ON CONFLICT (booking_id) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER transfer_awaits AFTER UPDATE ON booking FOR EACH ROW
    WHEN (NEW.state = 'confirmed' AND NEW.amount > 0
          AND OLD.state IN ('pending_payment', 'cancelling', 'expiring', 'authorized'))
    EXECUTE FUNCTION transfer_awaits();

-- To nobody's account but the organisation's, never more than there is, decided once (reliability.md, I16).
CREATE FUNCTION transfer_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
BEGIN
    IF (OLD.booking_id, OLD.event_id, OLD.organisation_id, OLD.created)
       IS DISTINCT FROM (NEW.booking_id, NEW.event_id, NEW.organisation_id, NEW.created)
       OR OLD.state <> 'waiting' AND (OLD.venue, OLD.tax, OLD.fee, OLD.netted, OLD.sent, OLD.account_id, OLD.decided)
          IS DISTINCT FROM (NEW.venue, NEW.tax, NEW.fee, NEW.netted, NEW.sent, NEW.account_id, NEW.decided)
       OR OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
           ('waiting', 'decided'), ('waiting', 'nothing'), ('decided', 'made'))
       OR OLD.stripe_id IS NOT NULL AND OLD.stripe_id IS DISTINCT FROM NEW.stripe_id THEN
        RAISE EXCEPTION 'the transfer of booking % was decided otherwise', OLD.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transfer_stays_as_decided';
    END IF;
    IF OLD.state = 'waiting' AND NEW.sent > 0 THEN
        SELECT b.amount - coalesce((SELECT sum(r.amount - r.owed) FROM refund r
                                    WHERE r.booking_id = b.id
                                      AND (r.state <> 'failed' OR r.accepted IS NOT NULL)), 0)
                        - coalesce((SELECT sum(d.amount) FROM dispute d
                                    WHERE d.booking_id = b.id AND d.state <> 'won'), 0)
        INTO kept FROM booking b WHERE b.id = NEW.booking_id;
        IF NEW.sent + NEW.netted + NEW.fee > kept THEN
            RAISE EXCEPTION 'booking % has % left, and % were to be transferred', NEW.booking_id, kept, NEW.sent
                USING ERRCODE = 'check_violation', CONSTRAINT = 'transfer_is_within_capture';
        END IF;
        IF NOT EXISTS (SELECT FROM connected_account
                       WHERE organisation_id = NEW.organisation_id AND account_id = NEW.account_id) THEN
            RAISE EXCEPTION '% is no account of %', NEW.account_id, NEW.organisation_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'transfer_goes_to_its_organisation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transfer_keeps_within BEFORE UPDATE ON transfer FOR EACH ROW EXECUTE FUNCTION transfer_keeps_within();

CREATE FUNCTION reversal_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.state <> 'pending' OR (OLD.id, OLD.booking_id, OLD.cause, OLD.venue, OLD.tax, OLD.fee, OLD.sought, OLD.key)
           IS DISTINCT FROM (NEW.id, NEW.booking_id, NEW.cause, NEW.venue, NEW.tax, NEW.fee, NEW.sought, NEW.key) THEN
            RAISE EXCEPTION 'reversal % ended otherwise', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'reversal_stays';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.sought > (SELECT coalesce(t.sent, 0) FROM transfer t WHERE t.booking_id = NEW.booking_id FOR UPDATE)
       - (SELECT coalesce(sum(sought), 0) FROM transfer_reversal
          WHERE booking_id = NEW.booking_id AND state <> 'refused') THEN
        RAISE EXCEPTION 'booking % reverses more than was transferred', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reversal_is_within_transfer';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER reversal_keeps_within BEFORE INSERT OR UPDATE ON transfer_reversal FOR EACH ROW
    EXECUTE FUNCTION reversal_keeps_within();

CREATE FUNCTION transfers_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was paid is never forgotten'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'transfers_stay';
END $$;
CREATE TRIGGER transfers_stay BEFORE DELETE ON transfer FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER transfers_stay BEFORE DELETE ON transfer_reversal FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER transfers_stay BEFORE DELETE ON receivable FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();

CREATE TRIGGER audit_transfers AFTER UPDATE OR DELETE ON transfer FOR EACH ROW
    EXECUTE FUNCTION audit_rows('transfer', 'booking_id', 'booking_id', '{}', '{}');
CREATE TRIGGER audit_reversals AFTER INSERT OR UPDATE OR DELETE ON transfer_reversal FOR EACH ROW
    EXECUTE FUNCTION audit_rows('reversal', 'id', 'booking_id', '{}', '{}');
CREATE TRIGGER audit_receivables AFTER INSERT OR UPDATE OR DELETE ON receivable FOR EACH ROW
    EXECUTE FUNCTION audit_rows('receivable', 'id', 'booking_id', '{}', '{}');

INSERT INTO ledger_account (name, side, says) VALUES
    ('transfers_due',           'credit', 'an organisation''s: decided, and not transferred yet'),
    ('organisation_receivable', 'debit',  'an organisation owes it back: neither reversed nor netted yet');

ALTER TABLE outbox
    DROP CONSTRAINT outbox_act_is_known,
    ADD CONSTRAINT outbox_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'cancel_surplus', 'capture_intent', 'sell_hold', 'free_booking',
        'restore_hold', 'refund', 'keep_places', 'transfer', 'reverse_transfer'));
ALTER TABLE payment_attempt
    DROP CONSTRAINT attempt_act_is_known,
    ADD CONSTRAINT attempt_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'cancel_surplus', 'capture_intent', 'void_intent', 'refund', 'transfer',
        'reverse_transfer'));
-- The daily match reads transfers, too.
ALTER TABLE stripe_transaction
    DROP CONSTRAINT transaction_kind_is_known,
    ADD CONSTRAINT transaction_kind_is_known CHECK (kind IN ('charge', 'refund', 'dispute', 'transfer', 'reversal'));
