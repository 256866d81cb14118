-- The audit trail: three logs that are only ever added to, chained row for row by hash (docs/decisions/016).

-- Acts that no other log has: events, prices, channels, staff, keys, layouts. Plain inserts of the transaction that acts;
-- no foreign key, so that nothing keeps a record or takes it along.
CREATE TABLE audit_record (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id      text,                       -- NULL: of the house
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_kind    text NOT NULL DEFAULT coalesce(nullif(current_setting('lml.actor_kind', true), ''), 'system'),
    actor_id      text DEFAULT nullif(current_setting('lml.actor_id', true), ''),
    action        text NOT NULL,
    subject_kind  text NOT NULL,
    subject_id    text NOT NULL,
    reason        text,
    origin        text DEFAULT nullif(current_setting('lml.origin', true), ''),  -- stands for a network address
    worker        text DEFAULT current_setting('application_name', true),        -- the program that was connected
    detail        jsonb,
    -- system: a program by itself, or a command on the server's own machine.
    CONSTRAINT audit_actor_is_known CHECK (actor_kind IN ('holder', 'staff', 'partner', 'system'))
);

-- Moves of bookings have their log already; it gets what a trail needs.
ALTER TABLE booking ADD COLUMN origin text;   -- from where it was made
ALTER TABLE booking_history
    ADD COLUMN event_id    text,
    ADD COLUMN actor_kind  text,
    ADD COLUMN actor_id    text,
    ADD COLUMN reason      text,
    ADD COLUMN origin      text,
    ADD COLUMN worker      text DEFAULT current_setting('application_name', true),
    ADD CONSTRAINT history_actor_is_known CHECK (actor_kind IN ('holder', 'staff', 'partner', 'system'));
UPDATE booking_history SET event_id = booking.event_id, worker = NULL
FROM booking WHERE booking.id = booking_history.booking_id;
ALTER TABLE booking_history ALTER COLUMN event_id SET NOT NULL;

-- So have seats and places, with the member of staff and their reason.
ALTER TABLE status_change ADD COLUMN origin text, ADD COLUMN worker text;
ALTER TABLE status_change
    ALTER COLUMN origin SET DEFAULT nullif(current_setting('lml.origin', true), ''),
    ALTER COLUMN worker SET DEFAULT current_setting('application_name', true);

CREATE OR REPLACE FUNCTION booking_moves() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Who acts in this transaction, where a request said so; a claim is its holder's, all else is ours.
    actor text := nullif(current_setting('lml.actor_kind', true), '');
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.state = OLD.state THEN
            RETURN NEW;
        END IF;
        IF NOT EXISTS (SELECT FROM booking_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
            RAISE EXCEPTION 'booking % may not go from % to %', NEW.id, OLD.state, NEW.state
                USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_moves_legally';
        END IF;
        INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, reason, origin)
        VALUES (NEW.id, NEW.event_id, OLD.state, NEW.state, coalesce(actor, 'system'),
                nullif(current_setting('lml.actor_id', true), ''), NEW.intent_status,
                nullif(current_setting('lml.origin', true), ''));
        NEW.changed := clock_timestamp();
        RETURN NEW;
    END IF;
    INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, origin)
    VALUES (NEW.id, NEW.event_id, NULL, NEW.state, coalesce(actor, 'holder'),
            coalesce(nullif(current_setting('lml.actor_id', true), ''), NEW.holder),
            coalesce(NEW.origin, nullif(current_setting('lml.origin', true), '')));
    RETURN NEW;
END $$;

-- Tells of rows that were made, changed or removed. Arguments: what they are called, the column that names one, the
-- column with its event ('' for none, booking_id for the booking's), columns whose values are nobody's business, columns
-- that are none of a trail's.
CREATE FUNCTION audit_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    secret text[] := TG_ARGV[3]::text[];
    was    jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - TG_ARGV[4]::text[] END;
    is_now jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - TG_ARGV[4]::text[] END;
    one    jsonb := coalesce(is_now, was);
    told   jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(key, CASE WHEN key = ANY (secret) THEN '"changed"'::jsonb
                                          ELSE jsonb_build_array(was -> key, value) END)
        INTO told FROM jsonb_each(is_now) WHERE was -> key IS DISTINCT FROM value;
        IF told IS NULL THEN
            RETURN NULL;
        END IF;
    ELSE
        told := jsonb_strip_nulls(one - secret - 'reason' - TG_ARGV[1]);
    END IF;
    INSERT INTO audit_record (event_id, action, subject_kind, subject_id, actor_kind, actor_id, reason, detail)
    VALUES (CASE TG_ARGV[2] WHEN 'booking_id' THEN (SELECT event_id FROM booking WHERE id = one ->> 'booking_id')
                            ELSE nullif(one ->> TG_ARGV[2], '') END,
            TG_ARGV[0] || CASE TG_OP WHEN 'INSERT' THEN '.made' WHEN 'UPDATE' THEN '.changed' ELSE '.removed' END,
            TG_ARGV[0], one ->> TG_ARGV[1],
            coalesce(nullif(current_setting('lml.actor_kind', true), ''),
                     CASE WHEN one ? 'staff_id' THEN 'staff' ELSE 'system' END),
            coalesce(nullif(current_setting('lml.actor_id', true), ''), one ->> 'staff_id'),
            one ->> 'reason', told);
    RETURN NULL;
END $$;

-- What adopt and the sale itself change many times an hour is not an act of anybody.
CREATE TRIGGER audit_events AFTER INSERT OR UPDATE OR DELETE ON event FOR EACH ROW
    EXECUTE FUNCTION audit_rows('event', 'id', 'id', '{}', '{revision,epoch,redis_run_id}');
CREATE TRIGGER audit_channels AFTER INSERT OR UPDATE OR DELETE ON event_channel FOR EACH ROW
    EXECUTE FUNCTION audit_rows('channel', 'name', 'event_id', '{}', '{told_at}');
CREATE TRIGGER audit_staff AFTER INSERT OR UPDATE OR DELETE ON staff FOR EACH ROW
    EXECUTE FUNCTION audit_rows('staff', 'id', '', '{password_hash}', '{}');
CREATE TRIGGER audit_partners AFTER INSERT OR UPDATE OR DELETE ON partner FOR EACH ROW
    EXECUTE FUNCTION audit_rows('partner', 'id', '', '{key_hash}', '{}');
-- Who signed in, and from where. That a session ends by itself is no act.
CREATE TRIGGER audit_sessions AFTER INSERT ON staff_session FOR EACH ROW
    EXECUTE FUNCTION audit_rows('session', 'staff_id', '', '{token_hash}', '{}');

-- A price list is one record, however many prices it has.
CREATE FUNCTION audit_prices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO audit_record (event_id, action, subject_kind, subject_id, detail)
        SELECT event_id, 'prices.removed', 'event', event_id,
               jsonb_agg(to_jsonb(was) - 'event_id' ORDER BY position, category, type)
        FROM was GROUP BY event_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO audit_record (event_id, action, subject_kind, subject_id, detail)
        SELECT event_id, 'prices.made', 'event', event_id,
               jsonb_agg(to_jsonb(is_now) - 'event_id' ORDER BY position, category, type)
        FROM is_now GROUP BY event_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_prices_made AFTER INSERT ON event_price
    REFERENCING NEW TABLE AS is_now FOR EACH STATEMENT EXECUTE FUNCTION audit_prices();
CREATE TRIGGER audit_prices_changed AFTER UPDATE ON event_price
    REFERENCING OLD TABLE AS was NEW TABLE AS is_now FOR EACH STATEMENT EXECUTE FUNCTION audit_prices();
CREATE TRIGGER audit_prices_removed AFTER DELETE ON event_price
    REFERENCING OLD TABLE AS was FOR EACH STATEMENT EXECUTE FUNCTION audit_prices();

-- The chains: one an event, and one (of no name) of the house. A link says which record comes next, and is hashed with
-- the link before it. Written after the commits, by one sequencer at a time, so that no booking waits for another.
CREATE TABLE audit_link (
    chain   text NOT NULL,
    seq     bigint NOT NULL,
    log     text NOT NULL,
    number  bigint NOT NULL,
    hash    bytea NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chain, seq),
    CONSTRAINT one_link_per_record UNIQUE (log, number),
    CONSTRAINT link_log_is_known CHECK (log IN ('act', 'booking', 'seat')),
    CONSTRAINT link_hash_is_sha256 CHECK (octet_length(hash) = 32)
);

-- Up to where each log is chained without a gap that somebody may still fill: a hint for the sequencer, and no proof.
CREATE TABLE audit_floor (
    log          text PRIMARY KEY,
    number       bigint NOT NULL DEFAULT 0,
    next_number  bigint,                      -- the floor to come …
    next_xid     bigint,                      -- … once every transaction before this one has ended
    next_at      timestamptz
);

-- What was written to the object store, and where: there it is out of this database's reach.
CREATE TABLE audit_anchor (
    number  bigint PRIMARY KEY,
    hash    bytea NOT NULL,                   -- SHA-256 of the whole manifest
    links   bigint NOT NULL,                  -- how many it covers
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT anchor_hash_is_sha256 CHECK (octet_length(hash) = 32)
);

-- Where the server signs in as a role that does not own the tables, grant it SELECT and INSERT on these and nothing
-- else. The triggers refuse the owner as well.
REVOKE UPDATE, DELETE, TRUNCATE ON audit_record, booking_history, audit_link, audit_anchor FROM PUBLIC;
CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is only ever added to'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_stays';
END $$;
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON booking_history
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_link
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_anchor
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
