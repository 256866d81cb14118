-- E-mail to buyers: what is to be told is decided in the transaction that decides what it tells of, and sent at least once.
CREATE TABLE mail (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id    text NOT NULL REFERENCES booking,
    kind          text NOT NULL,
    ordinal       integer NOT NULL DEFAULT 1,   -- a second refund is another mail; a second confirmation is none
    due           timestamptz NOT NULL DEFAULT now(),
    tries         integer NOT NULL DEFAULT 0,
    leased_until  timestamptz,
    sent          timestamptz,                  -- a mail server took it
    given_up      timestamptz,                  -- none ever will
    fault         text,                         -- why the last try did not succeed; never an address
    created       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_mail_of_a_kind UNIQUE (booking_id, kind, ordinal),
    CONSTRAINT mail_kind_is_known CHECK (kind IN (
        'confirmed', 'cancelled', 'expired', 'failed', 'refunded', 'event_changed')),
    CONSTRAINT mail_ends_once CHECK (num_nonnulls(sent, given_up) < 2)
);
CREATE INDEX mail_open ON mail (due) WHERE sent IS NULL AND given_up IS NULL;

-- Where no mail server is set and the mailbox is on: what would have been sent.
CREATE TABLE mail_kept (
    mail_id    bigint PRIMARY KEY REFERENCES mail ON DELETE CASCADE,
    recipient  text NOT NULL,
    subject    text NOT NULL,
    body       text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);

-- Another one of a kind that may come more than once.
CREATE FUNCTION write_next_mail(booking text, what text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO mail (booking_id, kind, ordinal)
    SELECT booking, what, coalesce(max(ordinal), 0) + 1 FROM mail WHERE booking_id = booking AND kind = what;
$$;

CREATE FUNCTION mail_of_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state IN ('partially_refunded', 'refunded') THEN
        PERFORM write_next_mail(NEW.id, 'refunded');
    ELSE
        INSERT INTO mail (booking_id, kind) VALUES (NEW.id, NEW.state) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
-- What a buyer is told. Of a dispute he knows already, and of one that he lost his bank tells him.
CREATE TRIGGER mail_of_moves AFTER UPDATE ON booking FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND OLD.state <> 'disputed' AND NEW.buyer_email IS NOT NULL AND NEW.state IN (
        'confirmed', 'cancelled', 'expired', 'failed', 'partially_refunded', 'refunded'))
    EXECUTE FUNCTION mail_of_moves();

CREATE FUNCTION mail_of_changed_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_next_mail(id, 'event_changed') FROM booking
    WHERE event_id = NEW.id AND state IN ('authorized', 'confirmed', 'partially_refunded', 'disputed') ORDER BY id;
    RETURN NULL;
END $$;
CREATE TRIGGER mail_of_changed_event AFTER UPDATE ON event FOR EACH ROW
    WHEN ((OLD.starts_at, OLD.venue) IS DISTINCT FROM (NEW.starts_at, NEW.venue))
    EXECUTE FUNCTION mail_of_changed_event();
