-- name: list_changes
-- An event's status changes since a time and after a cursor, the oldest first.
SELECT c.*, s.email FROM status_change c LEFT JOIN staff s ON s.id = c.staff_id
WHERE c.event_id = $1 AND c.at >= $2 AND (c.at, c.number) > ($3, $4)
ORDER BY c.at, c.number LIMIT $5;

-- name: list_changes_of_seat
-- The same of one seat.
SELECT c.*, s.email FROM status_change c LEFT JOIN staff s ON s.id = c.staff_id
WHERE c.event_id = $1 AND c.at >= $2 AND (c.at, c.number) > ($3, $4) AND c.seat_id = $6
ORDER BY c.at, c.number LIMIT $5;

-- name: load_seats
-- What PostgreSQL knows of seats: the block on each, its channel, and the booking that claims or owns it.
SELECT w.seat_id, k.reason, k.staff_id, k.created, b.id AS booking_id, b.hold_id, b.holder, b.state AS booking_state,
       ch.name AS channel
FROM unnest($2::text[]) AS w (seat_id)
LEFT JOIN seat_block k ON k.event_id = $1 AND k.seat_id = w.seat_id
LEFT JOIN booking_seat c ON c.event_id = $1 AND c.seat_id = w.seat_id AND c.state IN ('claimed', 'sold')
LEFT JOIN booking b ON b.id = c.booking_id
LEFT JOIN seat_channel s ON s.event_id = $1 AND s.seat_id = w.seat_id
LEFT JOIN event_channel ch ON ch.event_id = $1 AND ch.number = s.channel;

-- name: load_customers
-- For whom staff hold these holds.
SELECT hold_id, customer FROM staff_hold WHERE hold_id = ANY ($1::text[]);
