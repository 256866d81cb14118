-- Bookings that are made together are written down together: one look at who acts and two inserts a statement, where
-- each booking had its own (docs/decisions/022). What is written, and that nobody can leave it out, stays the same.
CREATE FUNCTION bookings_made() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Who acts in this transaction, where a request said so; a claim is its holder's.
    actor     text := coalesce(nullif(current_setting('lml.actor_kind', true), ''), 'holder');
    actor_is  text := nullif(current_setting('lml.actor_id', true), '');
    came_from text := nullif(current_setting('lml.origin', true), '');
BEGIN
    INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, origin)
    SELECT id, event_id, NULL, state, actor, coalesce(actor_is, holder), coalesce(origin, came_from) FROM made;
    INSERT INTO payment (booking_id) SELECT id FROM made WHERE amount > 0;
    RETURN NULL;
END $$;
DROP TRIGGER booking_moves_on_insert ON booking;
CREATE TRIGGER bookings_made AFTER INSERT ON booking
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION bookings_made();

-- The same as before, for what is left of it: moves. One that moves nothing asks no function.
CREATE OR REPLACE FUNCTION booking_moves() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    paid text;
BEGIN
    IF NOT EXISTS (SELECT FROM booking_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'booking % may not go from % to %', NEW.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_moves_legally';
    END IF;
    IF NEW.amount > 0 THEN
        SELECT state INTO paid FROM payment WHERE booking_id = NEW.id;
        IF NOT EXISTS (SELECT FROM payment_fit WHERE booking_state = NEW.state AND payment_state = paid) THEN
            RAISE EXCEPTION 'booking % may not be % while its payment is %', NEW.id, NEW.state, paid
                USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_fits_its_payment';
        END IF;
    END IF;
    INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, reason, origin)
    VALUES (NEW.id, NEW.event_id, OLD.state, NEW.state,
            coalesce(nullif(current_setting('lml.actor_kind', true), ''), 'system'),
            nullif(current_setting('lml.actor_id', true), ''), paid,
            nullif(current_setting('lml.origin', true), ''));
    NEW.changed := clock_timestamp();
    RETURN NEW;
END $$;
DROP TRIGGER booking_moves_on_update ON booking;
CREATE TRIGGER booking_moves_on_update BEFORE UPDATE ON booking FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION booking_moves();
