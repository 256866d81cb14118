-- Buyers' accounts: who signs in, with one holder for all of their devices; and what is handed over to them.

CREATE TABLE account (
    id             text PRIMARY KEY,
    email          text NOT NULL,             -- lower case
    password_hash  text NOT NULL,             -- argon2id
    holder         text NOT NULL,             -- holds and books for the account, on whatever device
    created        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_account_per_email UNIQUE (email),
    CONSTRAINT one_account_per_holder UNIQUE (holder),
    CONSTRAINT account_email_is_lower_case CHECK (email = lower(email)),
    CONSTRAINT account_holder_is_an_id CHECK (holder ~ '^[A-Za-z0-9-]{1,64}$')
);

-- A token names its session; that it is good says its signature, that it has not ended says this row.
CREATE TABLE account_session (
    id          text PRIMARY KEY,
    account_id  text NOT NULL REFERENCES account ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL,
    created     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX account_session_by_end ON account_session (expires_at);
CREATE INDEX account_session_by_account ON account_session (account_id, created);

-- Somebody asked for an account of this address, or for a new password: whoever reads its mail may choose one. The
-- secret in the mail is made of the id, and stands in no table.
CREATE TABLE account_invitation (
    id          text PRIMARY KEY,
    email       text NOT NULL,
    expires_at  timestamptz NOT NULL,
    used        timestamptz,
    created     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX account_invitation_by_email ON account_invitation (email, created);
CREATE INDEX account_invitation_by_age ON account_invitation (created);

ALTER TABLE mail
    ALTER COLUMN booking_id DROP NOT NULL,
    ADD COLUMN invitation_id text REFERENCES account_invitation ON DELETE CASCADE,
    ADD CONSTRAINT mail_is_about_one CHECK (num_nonnulls(booking_id, invitation_id) = 1),
    DROP CONSTRAINT mail_kind_is_known,
    ADD CONSTRAINT mail_kind_is_known CHECK (kind IN (
        'confirmed', 'cancelled', 'expired', 'failed', 'refunded', 'event_changed', 'invited')),
    ADD CONSTRAINT mail_kind_fits CHECK ((kind = 'invited') = (invitation_id IS NOT NULL));

-- An anonymous holder has signed in: what they hold and have booked becomes the account's. Written before anything is
-- moved, so that a worker which dies halfway leaves word of what is to be done.
CREATE TABLE hand_over (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_holder  text NOT NULL,
    to_holder    text NOT NULL REFERENCES account (holder) ON DELETE CASCADE,
    due          timestamptz NOT NULL DEFAULT now(),
    created      timestamptz NOT NULL DEFAULT now(),
    done         timestamptz,
    CONSTRAINT hand_over_goes_elsewhere CHECK (from_holder <> to_holder)
);
CREATE UNIQUE INDEX one_open_hand_over ON hand_over (from_holder, to_holder) WHERE done IS NULL;
CREATE INDEX hand_over_open ON hand_over (due) WHERE done IS NULL;

-- Whose a booking is changes with a hand-over only, and is on record.
CREATE FUNCTION booking_changes_hands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM hand_over
                   WHERE from_holder = OLD.holder AND to_holder = NEW.holder AND done IS NULL) THEN
        RAISE EXCEPTION 'booking % is not handed over', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_changes_hands';
    END IF;
    INSERT INTO audit_record (event_id, actor_kind, actor_id, action, subject_kind, subject_id, detail)
    VALUES (NEW.event_id, 'holder', NEW.holder, 'booking.handed_over', 'booking', NEW.id,
            jsonb_build_object('holder', jsonb_build_array(OLD.holder, NEW.holder)));
    RETURN NULL;
END $$;
CREATE TRIGGER booking_changes_hands AFTER UPDATE OF holder ON booking FOR EACH ROW
    WHEN (OLD.holder <> NEW.holder) EXECUTE FUNCTION booking_changes_hands();

-- Who has an account, and since when; who signed in, and from where.
CREATE TRIGGER audit_accounts AFTER INSERT OR UPDATE OR DELETE ON account FOR EACH ROW
    EXECUTE FUNCTION audit_rows('account', 'id', '', '{password_hash,email}', '{}');
CREATE TRIGGER audit_account_sessions AFTER INSERT ON account_session FOR EACH ROW
    EXECUTE FUNCTION audit_rows('session', 'account_id', '', '{id}', '{}');
