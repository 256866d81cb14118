-- What banks are told in a dispute; work that Stripe refuses for so long that somebody must look; transfers made twice.

ALTER TABLE outbox
    ADD COLUMN stuck timestamptz,
    DROP CONSTRAINT outbox_act_is_known,
    ADD CONSTRAINT outbox_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'cancel_surplus', 'refund_surplus', 'capture_intent', 'sell_hold', 'free_booking',
        'restore_hold', 'refund', 'keep_places', 'transfer', 'reverse_transfer', 'transfer_again', 'check_transfers', 'reverse_surplus',
        'submit_evidence')),
    ADD CONSTRAINT stuck_is_not_due CHECK (stuck IS NULL OR done IS NULL AND due = 'infinity');
CREATE INDEX outbox_stuck ON outbox (stuck) WHERE stuck IS NOT NULL;
ALTER TABLE payment_attempt DROP CONSTRAINT attempt_act_is_known, ADD CONSTRAINT attempt_act_is_known CHECK (act IN (
    'create_intent', 'cancel_intent', 'cancel_surplus', 'refund_surplus', 'capture_intent', 'void_intent', 'refund',
    'transfer', 'reverse_transfer', 'transfer_again', 'reverse_surplus', 'submit_evidence'));

CREATE TABLE surplus_transfer (
    stripe_id    text PRIMARY KEY,
    booking_id   text NOT NULL REFERENCES transfer,
    amount       bigint NOT NULL,
    state        text NOT NULL DEFAULT 'found',
    key          text NOT NULL,
    reversal_id  text,
    fault        text,
    created      timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended        timestamptz,
    CONSTRAINT one_surplus_per_key UNIQUE (key),
    CONSTRAINT surplus_is_an_amount CHECK (amount > 0),
    CONSTRAINT surplus_state_is_known CHECK (state IN ('found', 'reversed', 'refused')),
    CONSTRAINT surplus_ends_whole CHECK (
        (state = 'found') = (ended IS NULL) AND (state = 'reversed') = (reversal_id IS NOT NULL))
);
CREATE INDEX surplus_by_booking ON surplus_transfer (booking_id);
CREATE FUNCTION surplus_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the surplus transfer % ended otherwise', OLD.stripe_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'surplus_stays';
END $$;
CREATE TRIGGER surplus_stays BEFORE UPDATE ON surplus_transfer FOR EACH ROW
    WHEN (OLD.state <> 'found' OR (OLD.stripe_id, OLD.booking_id, OLD.amount, OLD.key)
          IS DISTINCT FROM (NEW.stripe_id, NEW.booking_id, NEW.amount, NEW.key))
    EXECUTE FUNCTION surplus_stays();
CREATE TRIGGER transfers_stay BEFORE DELETE ON surplus_transfer FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER audit_surplus AFTER INSERT OR UPDATE OR DELETE ON surplus_transfer FOR EACH ROW
    EXECUTE FUNCTION audit_rows('surplus_transfer', 'stripe_id', 'booking_id', '{}', '{}');

CREATE TABLE dispute_evidence (
    key         text PRIMARY KEY,
    dispute_id  text NOT NULL REFERENCES dispute,
    booking_id  text NOT NULL REFERENCES booking,
    round       text NOT NULL,
    body        jsonb,
    assembled   timestamptz,
    state       text NOT NULL DEFAULT 'planned',
    fault       text,
    created     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended       timestamptz,
    CONSTRAINT one_evidence_per_round UNIQUE (dispute_id, round),
    CONSTRAINT evidence_round_is_known CHECK (round IN ('inquiry', 'dispute')),
    CONSTRAINT evidence_state_is_known CHECK (state IN ('planned', 'submitted', 'found', 'refused')),
    CONSTRAINT evidence_is_assembled_whole CHECK (num_nonnulls(body, assembled) IN (0, 2)),
    CONSTRAINT evidence_ends_whole CHECK (
        (state = 'planned') = (ended IS NULL) AND (state <> 'submitted' OR body IS NOT NULL))
);
CREATE FUNCTION evidence_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the evidence of dispute % was another', OLD.dispute_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'evidence_stays';
END $$;
CREATE TRIGGER evidence_stays BEFORE UPDATE ON dispute_evidence FOR EACH ROW
    WHEN (OLD.state <> 'planned' OR OLD.body IS NOT NULL AND OLD.body IS DISTINCT FROM NEW.body
          OR (OLD.key, OLD.dispute_id, OLD.booking_id, OLD.round)
             IS DISTINCT FROM (NEW.key, NEW.dispute_id, NEW.booking_id, NEW.round))
    EXECUTE FUNCTION evidence_stays();
CREATE TRIGGER evidence_is_kept BEFORE DELETE OR TRUNCATE ON dispute_evidence
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER audit_evidence AFTER INSERT OR UPDATE OR DELETE ON dispute_evidence FOR EACH ROW
    EXECUTE FUNCTION audit_rows('evidence', 'dispute_id', 'booking_id', '{body}', '{}');
