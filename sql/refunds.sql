-- name: load_lines
-- What the booking's lines cost.
SELECT line, amount, fee, tax FROM booking_line WHERE booking_id = $1 ORDER BY line;

-- name: load_refund
-- One refund.
SELECT * FROM refund WHERE id = $1;

-- name: list_refunds
-- The refunds of bookings, in the order in which they were decided.
SELECT * FROM refund WHERE booking_id = ANY ($1::text[]) ORDER BY booking_id, created, id;

-- name: lost_to_banks
-- What disputes took of a booking for good.
SELECT coalesce(sum(lost_venue), 0)::bigint AS venue, coalesce(sum(lost_fees), 0)::bigint AS fees,
       coalesce(sum(lost_tax), 0)::bigint AS tax, coalesce(sum(lost_owed), 0)::bigint AS owed
FROM dispute WHERE booking_id = $1 AND state = 'lost';

-- name: insert_refund
-- A decision to give money back.
INSERT INTO refund (id, booking_id, key, amount, venue, fees, tax, owed, lines, reason, staff_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: write_work
-- What is to be done outside about a refund; once, however often it is decided.
INSERT INTO outbox (booking_id, event_id, act, key, refund_id) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key) DO NOTHING;

-- name: accept_refund
-- Stripe has it, or nothing is due.
UPDATE refund SET stripe_id = $2, accepted = clock_timestamp(), looked_at = now() WHERE id = $1 AND accepted IS NULL;

-- name: move_refund
-- Changes a refund's state; the trigger refuses an illegal move.
UPDATE refund SET state = $2, fault = $3 WHERE id = $1;

-- name: lock_areas_of_lines
-- Takes the areas of lines in the order of their ids, as every claim does.
SELECT area_id FROM event_area
WHERE event_id = $2 AND area_id IN (
    SELECT area_id FROM booking_line WHERE booking_id = $1 AND line = ANY ($3::int[]) AND area_id IS NOT NULL)
ORDER BY area_id FOR NO KEY UPDATE;

-- name: release_line_seats
-- The seats of lines that were given back are nobody's.
UPDATE booking_seat SET state = 'released'
WHERE booking_id = $1 AND state = 'sold'
  AND seat_id IN (SELECT seat_id FROM booking_line WHERE booking_id = $1 AND line = ANY ($2::int[]));

-- name: release_line_places
-- The places of such lines: the booking has fewer, and none where these were the last.
UPDATE booking_area AS a
SET quantity = CASE WHEN a.quantity > n.places THEN a.quantity - n.places ELSE a.quantity END,
    state = CASE WHEN a.quantity > n.places THEN a.state ELSE 'released' END
FROM (SELECT area_id, type, count(*)::int AS places FROM booking_line
      WHERE booking_id = $1 AND line = ANY ($2::int[]) AND area_id IS NOT NULL GROUP BY area_id, type) AS n
WHERE a.booking_id = $1 AND a.area_id = n.area_id AND a.type = n.type AND a.state = 'sold';

-- name: give_line_places_back
-- Counts such places out of their areas.
UPDATE event_area SET taken = taken - n.places
FROM (SELECT area_id, count(*)::int AS places FROM booking_line
      WHERE booking_id = $1 AND line = ANY ($3::int[]) AND area_id IS NOT NULL GROUP BY area_id) AS n
WHERE event_area.event_id = $2 AND event_area.area_id = n.area_id;

-- name: places_kept
-- What a booking still owns.
SELECT b.event_id, b.hold_id,
       ARRAY(SELECT seat_id FROM booking_seat WHERE booking_id = b.id AND state = 'sold' ORDER BY seat_id) AS seats,
       ARRAY(SELECT area_id FROM booking_area WHERE booking_id = b.id AND state = 'sold' ORDER BY area_id, type) AS areas,
       ARRAY(SELECT type FROM booking_area WHERE booking_id = b.id AND state = 'sold' ORDER BY area_id, type) AS types,
       ARRAY(SELECT quantity FROM booking_area WHERE booking_id = b.id AND state = 'sold' ORDER BY area_id, type) AS quantities
FROM booking b WHERE b.id = $1;

-- name: refunds_to_look_at
-- Takes the bookings with refunds that are on their way and that nobody asked Stripe about for a while.
UPDATE refund SET looked_at = now()
WHERE id IN (
    SELECT id FROM refund
    WHERE state = 'pending' AND accepted IS NOT NULL AND looked_at < now() - make_interval(secs => $2)
    ORDER BY looked_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
RETURNING booking_id;
