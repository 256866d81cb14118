-- Disputes whole: inquiries, fees, other currencies, whose money was lost, and what a bank gives back after all.

ALTER TABLE dispute
    ADD COLUMN bank_amount bigint,
    ADD COLUMN bank_currency text,
    ADD COLUMN due_by timestamptz,
    ADD COLUMN lost_venue bigint,
    ADD COLUMN lost_fees bigint,
    ADD COLUMN lost_tax bigint,
    ADD COLUMN lost_owed bigint,
    DROP CONSTRAINT dispute_state_is_known,
    DROP CONSTRAINT dispute_is_closed_once;

-- Whose money those before took is what the ledger says.
UPDATE dispute SET (lost_venue, lost_fees, lost_tax, lost_owed) = (
    SELECT coalesce(sum(e.debit - e.credit) FILTER (WHERE e.account = 'venue_payable'), 0)::bigint,
           coalesce(sum(e.debit - e.credit) FILTER (WHERE e.account = 'fee_income'), 0)::bigint,
           coalesce(sum(e.debit - e.credit) FILTER (WHERE e.account = 'tax_payable'), 0)::bigint,
           coalesce(sum(e.debit - e.credit) FILTER (WHERE e.account = 'refunds_due'), 0)::bigint
    FROM ledger_transaction t JOIN ledger_entry e ON e.transaction = t.number
    WHERE t.key = dispute.id || ':dispute_lost')
WHERE state = 'lost';

ALTER TABLE dispute
    ADD CONSTRAINT dispute_state_is_known CHECK (state IN ('inquiry', 'dropped', 'open', 'won', 'lost')),
    ADD CONSTRAINT dispute_is_closed_once CHECK ((state IN ('inquiry', 'open')) = (closed IS NULL)),
    ADD CONSTRAINT dispute_of_a_bank_is_whole CHECK (num_nonnulls(bank_amount, bank_currency) IN (0, 2)),
    ADD CONSTRAINT dispute_is_lost_whole CHECK (
        CASE state WHEN 'lost' THEN coalesce(lost_venue + lost_fees + lost_tax + lost_owed = amount, false)
                   ELSE num_nonnulls(lost_venue, lost_fees, lost_tax, lost_owed) = 0 END);

DROP INDEX dispute_open;
CREATE INDEX dispute_by_look ON dispute (looked_at);

CREATE OR REPLACE FUNCTION dispute_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('inquiry', 'dropped'), ('inquiry', 'open'), ('dropped', 'open'), ('open', 'won'), ('open', 'lost'), ('lost', 'won'))
       OR (OLD.id, OLD.booking_id) IS DISTINCT FROM (NEW.id, NEW.booking_id)
       OR OLD.state NOT IN ('inquiry', 'dropped')
          AND (OLD.amount, OLD.bank_amount, OLD.bank_currency)
              IS DISTINCT FROM (NEW.amount, NEW.bank_amount, NEW.bank_currency)
       OR OLD.state = 'lost' AND NEW.state = 'lost'
          AND (OLD.lost_venue, OLD.lost_fees, OLD.lost_tax, OLD.lost_owed)
              IS DISTINCT FROM (NEW.lost_venue, NEW.lost_fees, NEW.lost_tax, NEW.lost_owed) THEN
        RAISE EXCEPTION 'dispute % is over', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'dispute_moves_legally';
    END IF;
    RETURN NEW;
END $$;

-- What was charged back may be disputed again, for the rest; and what a bank gives back after all goes the same way.
INSERT INTO booking_move (from_state, to_state) VALUES ('charged_back', 'disputed');

-- What was given back at Stripe itself may be heard of when the bank has decided already.
CREATE OR REPLACE FUNCTION refund_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
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
    WHERE id = NEW.booking_id AND (state IN ('confirmed', 'partially_refunded', 'refunded', 'disputed')
                                   OR state = 'charged_back' AND NEW.staff_id IS NULL)
    FOR UPDATE;
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

-- What a bank takes for its trouble, and sometimes gives back: one row for each balance transaction that bore some.
INSERT INTO ledger_account (name, side, says) VALUES
    ('dispute_fees', 'debit', 'what Stripe took for disputes, in the currency it took it in');

CREATE TABLE dispute_fee (
    id          text PRIMARY KEY,             -- txn_…
    dispute_id  text NOT NULL REFERENCES dispute,
    amount      bigint NOT NULL,              -- minor units; below 0 it came back
    currency    text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT dispute_fee_is_an_amount CHECK (amount <> 0),
    CONSTRAINT dispute_fee_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$')
);
CREATE INDEX dispute_fee_by_dispute ON dispute_fee (dispute_id);
CREATE TRIGGER dispute_fees_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON dispute_fee
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

CREATE OR REPLACE FUNCTION ledger_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong record;
BEGIN
    SELECT sum(debit) <> sum(credit) AS sums INTO wrong
    FROM added GROUP BY transaction, currency
    HAVING sum(debit) <> sum(credit)
        OR NOT bool_or(account = 'dispute_fees')
           AND currency <> (SELECT b.currency FROM ledger_transaction t JOIN booking b ON b.id = t.booking_id
                            WHERE t.number = added.transaction)
    LIMIT 1;
    IF wrong.sums THEN
        RAISE EXCEPTION 'a ledger transaction does not balance'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balances';
    ELSIF FOUND THEN
        RAISE EXCEPTION 'a ledger transaction is in another currency than its booking'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_currency_is_the_bookings';
    END IF;
    RETURN NULL;
END $$;

-- Stripe's fee on each transaction, so that disputes' can be matched; NULL where it was copied before fees were.
ALTER TABLE stripe_transaction ADD COLUMN fee bigint, ADD COLUMN fee_currency text;

-- A dispute that was lost took an organisation's part back; won after all, that part is sent again.
ALTER TABLE outbox DROP CONSTRAINT outbox_act_is_known, ADD CONSTRAINT outbox_act_is_known CHECK (act IN (
    'create_intent', 'cancel_intent', 'cancel_surplus', 'refund_surplus', 'capture_intent', 'sell_hold', 'free_booking',
    'restore_hold', 'refund', 'keep_places', 'transfer', 'reverse_transfer', 'transfer_again'));
ALTER TABLE payment_attempt DROP CONSTRAINT attempt_act_is_known, ADD CONSTRAINT attempt_act_is_known CHECK (act IN (
    'create_intent', 'cancel_intent', 'cancel_surplus', 'refund_surplus', 'capture_intent', 'void_intent', 'refund',
    'transfer', 'reverse_transfer', 'transfer_again'));

CREATE TABLE transfer_again (
    id          text PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES transfer,
    cause       text NOT NULL,
    venue       bigint NOT NULL,
    tax         bigint NOT NULL,
    fee         bigint NOT NULL,
    netted      bigint NOT NULL,
    sent        bigint NOT NULL,
    account_id  text NOT NULL,
    key         text NOT NULL,
    state       text NOT NULL,
    stripe_id   text,
    created     timestamptz NOT NULL DEFAULT clock_timestamp(),
    made        timestamptz,
    CONSTRAINT one_transfer_again_per_cause UNIQUE (booking_id, cause),
    CONSTRAINT one_transfer_again_per_key UNIQUE (key),
    CONSTRAINT one_transfer_again_per_stripe_id UNIQUE (stripe_id),
    CONSTRAINT again_state_is_known CHECK (state IN ('decided', 'made', 'nothing')),
    CONSTRAINT again_adds_up CHECK (sent >= 0 AND netted >= 0 AND sent + netted = venue + tax - fee),
    CONSTRAINT again_of_nothing_ends CHECK ((sent = 0) = (state = 'nothing')),
    CONSTRAINT again_is_made_whole CHECK (num_nonnulls(stripe_id, made) = CASE state WHEN 'made' THEN 2 ELSE 0 END)
);
CREATE INDEX transfer_again_by_time ON transfer_again (made) WHERE made IS NOT NULL;

CREATE FUNCTION again_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.state <> 'decided'
           OR (OLD.id, OLD.booking_id, OLD.cause, OLD.venue, OLD.tax, OLD.fee, OLD.netted, OLD.sent, OLD.account_id, OLD.key)
              IS DISTINCT FROM
              (NEW.id, NEW.booking_id, NEW.cause, NEW.venue, NEW.tax, NEW.fee, NEW.netted, NEW.sent, NEW.account_id, NEW.key)
        THEN
            RAISE EXCEPTION '% was decided otherwise', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'again_stays_as_decided';
        END IF;
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM transfer_reversal r JOIN dispute d ON r.cause = 'dispute:' || d.id
                   WHERE r.booking_id = NEW.booking_id AND r.cause = NEW.cause AND d.state = 'won'
                     AND (r.venue, r.tax, r.fee) = (NEW.venue, NEW.tax, NEW.fee)) THEN
        RAISE EXCEPTION 'booking % is sent again what nobody took back', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'again_is_what_was_taken_back';
    END IF;
    IF NOT EXISTS (SELECT FROM transfer t JOIN connected_account a USING (organisation_id)
                   WHERE t.booking_id = NEW.booking_id AND a.account_id = NEW.account_id) THEN
        RAISE EXCEPTION '% is no account of its organisation', NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'again_goes_to_its_organisation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER again_keeps_within BEFORE INSERT OR UPDATE ON transfer_again FOR EACH ROW
    EXECUTE FUNCTION again_keeps_within();
CREATE TRIGGER transfers_stay BEFORE DELETE ON transfer_again FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER audit_transfers_again AFTER INSERT OR UPDATE OR DELETE ON transfer_again FOR EACH ROW
    EXECUTE FUNCTION audit_rows('transfer_again', 'id', 'booking_id', '{}', '{}');
