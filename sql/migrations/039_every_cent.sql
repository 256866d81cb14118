-- What came back of transfers though nobody here decided it is booked, and sent again; what banks take of what bought
-- nothing is booked, with what it costs.

CREATE TABLE surplus_reversal (
    stripe_id    text PRIMARY KEY,
    booking_id   text NOT NULL REFERENCES transfer,
    transfer_id  text NOT NULL,
    amount       bigint NOT NULL,
    found        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT surplus_reversal_is_an_amount CHECK (amount > 0)
);
CREATE INDEX surplus_reversal_by_booking ON surplus_reversal (booking_id);
CREATE TRIGGER surplus_reversals_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON surplus_reversal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER audit_surplus_reversals AFTER INSERT ON surplus_reversal FOR EACH ROW
    EXECUTE FUNCTION audit_rows('surplus_reversal', 'stripe_id', 'booking_id', '{}', '{}');

ALTER TABLE transfer_again
    ADD COLUMN returned bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT again_adds_up,
    ADD CONSTRAINT again_adds_up CHECK (sent >= 0 AND netted >= 0 AND sent + netted = venue + tax - fee + returned),
    ADD CONSTRAINT again_is_for_one_reason CHECK (
        returned >= 0 AND (returned = 0 OR (venue, tax, fee) = (0, 0, 0)));

CREATE OR REPLACE FUNCTION reversal_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
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
          WHERE booking_id = NEW.booking_id AND state <> 'refused')
       - (SELECT coalesce(sum(s.amount), 0) FROM surplus_reversal s JOIN transfer t ON t.stripe_id = s.transfer_id
          WHERE t.booking_id = NEW.booking_id) THEN
        RAISE EXCEPTION 'booking % reverses more than was transferred', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reversal_is_within_transfer';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION again_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    decided bigint;
    kept bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.state <> 'decided'
           OR (OLD.id, OLD.booking_id, OLD.cause, OLD.venue, OLD.tax, OLD.fee, OLD.returned, OLD.netted, OLD.sent,
               OLD.account_id, OLD.key)
              IS DISTINCT FROM
              (NEW.id, NEW.booking_id, NEW.cause, NEW.venue, NEW.tax, NEW.fee, NEW.returned, NEW.netted, NEW.sent,
               NEW.account_id, NEW.key)
        THEN
            RAISE EXCEPTION '% was decided otherwise', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'again_stays_as_decided';
        END IF;
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM dispute d
                   WHERE d.booking_id = NEW.booking_id AND NEW.cause = 'dispute:' || d.id AND d.state = 'won'
                     AND NEW.returned = 0
                   UNION ALL
                   SELECT FROM surplus_reversal s
                   WHERE s.booking_id = NEW.booking_id AND NEW.cause = 'reversal:' || s.stripe_id
                     AND NEW.returned = s.amount) THEN
        RAISE EXCEPTION 'booking % is sent again what nobody gave back', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'again_is_what_was_given_back';
    END IF;
    SELECT t.venue + t.tax
           - coalesce((SELECT sum(r.venue + r.tax) FROM transfer_reversal r WHERE r.booking_id = t.booking_id), 0)
           + coalesce((SELECT sum(a.venue + a.tax) FROM transfer_again a WHERE a.booking_id = t.booking_id), 0)
    INTO decided FROM transfer t WHERE t.booking_id = NEW.booking_id AND t.state <> 'waiting' FOR UPDATE;
    SELECT b.amount - coalesce((SELECT sum(r.amount - r.owed) FROM refund r
                                WHERE r.booking_id = b.id AND r.accepted IS NOT NULL), 0)
                    - coalesce((SELECT sum(d.amount - d.lost_owed) FROM dispute d
                                WHERE d.booking_id = b.id AND d.state = 'lost'), 0)
    INTO kept FROM booking b WHERE b.id = NEW.booking_id;
    IF decided IS NULL OR NEW.returned = 0 AND decided + NEW.venue + NEW.tax > kept THEN
        RAISE EXCEPTION 'booking % has % left, and % more were to be transferred', NEW.booking_id, kept, NEW.sent
            USING ERRCODE = 'check_violation', CONSTRAINT = 'again_is_within_capture';
    END IF;
    IF NOT EXISTS (SELECT FROM transfer t JOIN connected_account a USING (organisation_id)
                   WHERE t.booking_id = NEW.booking_id AND a.account_id = NEW.account_id) THEN
        RAISE EXCEPTION '% is no account of its organisation', NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'again_goes_to_its_organisation';
    END IF;
    RETURN NEW;
END $$;

-- Banks dispute what bought nothing, too.
CREATE TABLE surplus_dispute (
    id             text PRIMARY KEY,
    intent_id      text NOT NULL REFERENCES surplus_payment,
    booking_id     text NOT NULL REFERENCES booking,
    amount         bigint NOT NULL,
    bank_amount    bigint,
    bank_currency  text,
    reason         text NOT NULL,
    state          text NOT NULL,
    opened         timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed         timestamptz,
    looked_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT surplus_dispute_is_an_amount CHECK (amount > 0),
    CONSTRAINT surplus_dispute_state_is_known CHECK (state IN ('inquiry', 'dropped', 'open', 'won', 'lost')),
    CONSTRAINT surplus_dispute_is_closed_once CHECK ((state IN ('inquiry', 'open')) = (closed IS NULL)),
    CONSTRAINT surplus_dispute_of_a_bank_is_whole CHECK (num_nonnulls(bank_amount, bank_currency) IN (0, 2))
);
CREATE INDEX surplus_dispute_by_booking ON surplus_dispute (booking_id);
CREATE INDEX surplus_dispute_by_intent ON surplus_dispute (intent_id);
CREATE INDEX surplus_dispute_by_look ON surplus_dispute (looked_at);
CREATE FUNCTION surplus_dispute_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('inquiry', 'dropped'), ('inquiry', 'open'), ('dropped', 'open'), ('open', 'won'), ('open', 'lost'), ('lost', 'won'))
       OR (OLD.id, OLD.intent_id, OLD.booking_id) IS DISTINCT FROM (NEW.id, NEW.intent_id, NEW.booking_id)
       OR OLD.state NOT IN ('inquiry', 'dropped')
          AND (OLD.amount, OLD.bank_amount, OLD.bank_currency)
              IS DISTINCT FROM (NEW.amount, NEW.bank_amount, NEW.bank_currency) THEN
        RAISE EXCEPTION 'dispute % is over', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'surplus_dispute_moves_legally';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER surplus_dispute_moves BEFORE UPDATE ON surplus_dispute FOR EACH ROW
    EXECUTE FUNCTION surplus_dispute_moves();
CREATE TRIGGER surplus_disputes_stay BEFORE DELETE OR TRUNCATE ON surplus_dispute
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER audit_surplus_disputes AFTER INSERT OR UPDATE ON surplus_dispute FOR EACH ROW
    EXECUTE FUNCTION audit_rows('surplus_dispute', 'id', 'booking_id', '{}', '{looked_at}');

ALTER TABLE dispute_fee
    ALTER COLUMN dispute_id DROP NOT NULL,
    ADD COLUMN surplus_dispute_id text REFERENCES surplus_dispute,
    ADD CONSTRAINT dispute_fee_is_of_one CHECK (num_nonnulls(dispute_id, surplus_dispute_id) = 1);
CREATE INDEX dispute_fee_by_surplus ON dispute_fee (surplus_dispute_id) WHERE surplus_dispute_id IS NOT NULL;

-- What went back by a dispute that was lost is owed again when the bank gives it back.
CREATE FUNCTION surplus_payment_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.intent_id, OLD.booking_id, OLD.amount, OLD.found)
       IS DISTINCT FROM (NEW.intent_id, NEW.booking_id, NEW.amount, NEW.found)
       OR OLD.returned IS NOT NULL AND NOT (NEW.returned IS NULL AND EXISTS (
           SELECT FROM surplus_dispute WHERE id = OLD.refund_id AND intent_id = OLD.intent_id AND state = 'won')) THEN
        RAISE EXCEPTION 'what % paid went back otherwise', OLD.intent_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'surplus_stays';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER surplus_stays ON surplus_payment;
CREATE TRIGGER surplus_stays BEFORE UPDATE ON surplus_payment FOR EACH ROW EXECUTE FUNCTION surplus_payment_stays();

-- Those by which something went back before there was this table: it is in the ledger as returned, so they are over.
INSERT INTO surplus_dispute (id, intent_id, booking_id, amount, reason, state, closed)
SELECT refund_id, intent_id, booking_id, amount, 'general', 'lost', returned FROM surplus_payment
WHERE refund_id ~ '^d[pu]_';
