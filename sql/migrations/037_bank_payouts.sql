-- What of an organisation's account at Stripe went to its bank, and did it arrive (docs/decisions/037).

ALTER TABLE connected_account
    ADD COLUMN payouts_looked_at timestamptz,
    ADD CONSTRAINT account_is_its_organisations UNIQUE (organisation_id, account_id);

CREATE TABLE payout_move (
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);
INSERT INTO payout_move (from_state, to_state) VALUES
    ('pending', 'in_transit'), ('pending', 'paid'), ('pending', 'failed'), ('pending', 'canceled'),
    ('in_transit', 'paid'), ('in_transit', 'failed'), ('in_transit', 'canceled'),
    ('paid', 'failed');

CREATE TABLE payout (
    stripe_id        text PRIMARY KEY,
    organisation_id  text NOT NULL,
    account_id       text NOT NULL,
    amount           bigint NOT NULL,
    currency         text NOT NULL,
    state            text NOT NULL,
    automatic        boolean NOT NULL,
    arrives          timestamptz NOT NULL,
    failure_code     text,
    created          timestamptz NOT NULL,
    seen             timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT payout_is_of_its_account FOREIGN KEY (organisation_id, account_id)
        REFERENCES connected_account (organisation_id, account_id),
    CONSTRAINT payout_is_an_amount CHECK (amount <> 0),
    CONSTRAINT payout_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT payout_state_is_known CHECK (state IN ('pending', 'in_transit', 'paid', 'failed', 'canceled')),
    CONSTRAINT payout_fails_for_a_reason CHECK (failure_code IS NULL OR state = 'failed')
);
CREATE INDEX payout_by_organisation ON payout (organisation_id, created, stripe_id);

CREATE FUNCTION payout_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.stripe_id, OLD.organisation_id, OLD.account_id, OLD.amount, OLD.currency, OLD.automatic, OLD.created, OLD.seen)
       IS DISTINCT FROM
       (NEW.stripe_id, NEW.organisation_id, NEW.account_id, NEW.amount, NEW.currency, NEW.automatic, NEW.created, NEW.seen)
       OR NEW.state <> OLD.state
          AND NOT EXISTS (SELECT FROM payout_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'payout % may not go from % to %, or is another', OLD.stripe_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payout_moves_legally';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payout_moves BEFORE UPDATE ON payout FOR EACH ROW EXECUTE FUNCTION payout_moves();
CREATE TRIGGER transfers_stay BEFORE DELETE ON payout FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER audit_payouts AFTER INSERT OR UPDATE OR DELETE ON payout FOR EACH ROW
    EXECUTE FUNCTION audit_rows('payout', 'stripe_id', '', '{}', '{seen}');
DROP TRIGGER audit_accounts ON connected_account;
CREATE TRIGGER audit_accounts AFTER INSERT OR UPDATE OR DELETE ON connected_account FOR EACH ROW
    EXECUTE FUNCTION audit_rows('connected_account', 'organisation_id', '', '{}', '{looked_at,noticed,payouts_looked_at}');

-- What a notice is about, where that is no intent.
ALTER TABLE stripe_notice
    ADD COLUMN account_id text,
    ADD COLUMN payout_id text;

-- Mails to an organisation's managers.
ALTER TABLE mail
    ADD COLUMN payout_id text REFERENCES payout,
    ADD COLUMN member_id text REFERENCES staff ON DELETE CASCADE,
    ADD CONSTRAINT one_mail_of_a_payout UNIQUE (payout_id, member_id, kind),
    ADD CONSTRAINT mail_of_a_payout_goes_to_somebody CHECK ((payout_id IS NULL) = (member_id IS NULL)),
    DROP CONSTRAINT mail_is_about_one,
    ADD CONSTRAINT mail_is_about_one CHECK (num_nonnulls(booking_id, invitation_id, payout_id) = 1),
    DROP CONSTRAINT mail_kind_is_known,
    ADD CONSTRAINT mail_kind_is_known CHECK (kind IN (
        'confirmed', 'cancelled', 'expired', 'failed', 'refunded', 'returned', 'event_changed', 'invited',
        'payout_failed')),
    DROP CONSTRAINT mail_kind_fits,
    ADD CONSTRAINT mail_kind_fits CHECK (
        (kind = 'invited') = (invitation_id IS NOT NULL) AND (kind = 'payout_failed') = (payout_id IS NOT NULL));
CREATE INDEX mail_by_member ON mail (member_id) WHERE member_id IS NOT NULL;

CREATE FUNCTION mail_of_payouts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mail (payout_id, member_id, kind)
    SELECT NEW.stripe_id, s.id, 'payout_failed' FROM organisation_member m JOIN staff s ON s.id = m.member_id
    WHERE m.organisation_id = NEW.organisation_id AND s.roles && '{manager,admin}';
    IF NOT FOUND THEN
        INSERT INTO mail (payout_id, member_id, kind)
        SELECT NEW.stripe_id, id, 'payout_failed' FROM staff WHERE 'admin' = ANY (roles);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER mail_of_new_payouts AFTER INSERT ON payout FOR EACH ROW
    WHEN (NEW.state = 'failed' AND NEW.amount > 0 AND NEW.created > now() - interval '30 days')
    EXECUTE FUNCTION mail_of_payouts();
CREATE TRIGGER mail_of_payouts AFTER UPDATE ON payout FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND NEW.state = 'failed' AND NEW.amount > 0) EXECUTE FUNCTION mail_of_payouts();
