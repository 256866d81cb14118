-- Tickets: one for each place of a paid booking, known by a code that nobody can guess, good for one admission.

-- Which moves of a ticket are legal is said by the trigger below, and in booking/tickets.py; a test compares the two.
CREATE TABLE ticket (
    id          text PRIMARY KEY,             -- the code: 122 random bits
    booking_id  text NOT NULL REFERENCES booking,
    event_id    text NOT NULL REFERENCES event,
    line        integer NOT NULL,
    state       text NOT NULL DEFAULT 'valid',
    issued      timestamptz NOT NULL DEFAULT clock_timestamp(),
    issue_key   text,                         -- of a reprint: what asked for it
    staff_id    text,                         -- of a reprint: who, and why
    reason      text,
    used_at     timestamptz,                  -- when, where and by whom it was let in …
    used_gate   text,
    used_by     text,
    used_key    text,                         -- … and what asked for that: asked again, it is the same admission
    FOREIGN KEY (booking_id, line) REFERENCES booking_line,
    CONSTRAINT ticket_state_is_known CHECK (state IN ('valid', 'flagged', 'used', 'void')),
    CONSTRAINT ticket_is_used_whole CHECK (
        num_nonnulls(used_at, used_gate, used_by, used_key) IN (0, 4) AND (state <> 'used' OR used_at IS NOT NULL))
);
-- Nobody comes in twice on one place.
CREATE UNIQUE INDEX one_ticket_per_place ON ticket (booking_id, line) WHERE state <> 'void';
CREATE INDEX ticket_by_booking ON ticket (booking_id, line, issued);

CREATE FUNCTION ticket_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('valid', 'used'), ('valid', 'flagged'), ('valid', 'void'), ('flagged', 'valid'), ('flagged', 'void'),
        ('used', 'void'))
       OR (OLD.id, OLD.booking_id, OLD.event_id, OLD.line) IS DISTINCT FROM
          (NEW.id, NEW.booking_id, NEW.event_id, NEW.line)
       OR OLD.used_at IS NOT NULL AND (OLD.used_at, OLD.used_gate, OLD.used_by, OLD.used_key) IS DISTINCT FROM
          (NEW.used_at, NEW.used_gate, NEW.used_by, NEW.used_key) THEN
        RAISE EXCEPTION 'a ticket may not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ticket_moves_legally';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ticket_moves BEFORE UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION ticket_moves();

-- Those of what was bought before there were tickets.
INSERT INTO ticket (id, booking_id, event_id, line)
SELECT 't-' || replace(gen_random_uuid()::text, '-', ''), b.id, b.event_id, l.line
FROM booking b JOIN booking_line l ON l.booking_id = b.id
WHERE b.state IN ('confirmed', 'partially_refunded')
  AND NOT EXISTS (SELECT FROM refund r WHERE r.booking_id = b.id AND r.accepted IS NOT NULL AND l.line = ANY (r.lines));
