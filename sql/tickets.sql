-- name: lock_booking
-- The booking whose tickets are to be changed, for a decision.
SELECT state FROM booking WHERE id = $1 AND buyer_name IS NOT NULL FOR UPDATE;

-- name: issue
-- One ticket for each line of bookings, or for these lines of one.
INSERT INTO ticket (id, booking_id, event_id, line, issue_key, staff_id, reason)
SELECT 't-' || replace(gen_random_uuid()::text, '-', ''), b.id, b.event_id, l.line, $3, $4, $5
FROM booking b JOIN booking_line l ON l.booking_id = b.id
WHERE b.id = ANY ($1::text[]) AND ($2::int[] IS NULL OR l.line = ANY ($2));

-- name: void
-- The tickets of a booking, or of these lines, let nobody in any more.
UPDATE ticket SET state = 'void'
WHERE booking_id = $1 AND state <> 'void' AND ($2::int[] IS NULL OR line = ANY ($2));

-- name: list_tickets
-- The tickets of a booking that are not void, by line.
SELECT t.*, l.seat_id, l.area_id, l.type FROM ticket t JOIN booking_line l USING (booking_id, line)
WHERE t.booking_id = $1 AND t.state <> 'void' ORDER BY t.line;

-- name: lock_good_tickets
-- The lines of a booking whose tickets are valid, and stay so until this transaction ends: nobody is let in on one that
-- is about to be void.
SELECT line FROM ticket WHERE booking_id = $1 AND state = 'valid' ORDER BY line FOR NO KEY UPDATE;

-- name: was_reprinted
-- Whether a request has printed tickets anew already.
SELECT EXISTS (SELECT FROM ticket WHERE booking_id = $1 AND issue_key = $2);

-- name: admit
-- Lets in on a ticket of this event; of two that ask at once the second finds it used.
UPDATE ticket SET state = 'used', used_at = clock_timestamp(), used_gate = $3, used_by = $4, used_key = $5
WHERE id = $1 AND event_id = $2 AND state = 'valid';

-- name: load_ticket
-- One ticket with its place.
SELECT t.*, l.seat_id, l.area_id, l.type FROM ticket t JOIN booking_line l USING (booking_id, line) WHERE t.id = $1;
