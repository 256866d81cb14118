-- name: list_disputes
-- A booking's disputes, in order.
SELECT * FROM dispute WHERE booking_id = $1 ORDER BY opened, id;

-- name: open_dispute
-- A bank has taken money back.
INSERT INTO dispute (id, booking_id, amount, reason) VALUES ($1, $2, $3, $4);

-- name: close_dispute
-- The bank has decided.
UPDATE dispute SET state = $2, closed = clock_timestamp() WHERE id = $1;

-- name: flag_tickets
-- Whoever comes with a ticket of this booking is looked at.
UPDATE ticket SET state = 'flagged' WHERE booking_id = $1 AND state = 'valid';

-- name: clear_tickets
-- The payment stands: its tickets are good again.
UPDATE ticket SET state = 'valid' WHERE booking_id = $1 AND state = 'flagged';

-- name: disputes_to_look_at
-- Takes the bookings with open disputes that nobody asked Stripe about for a while.
UPDATE dispute SET looked_at = now()
WHERE id IN (
    SELECT id FROM dispute WHERE state = 'open' AND looked_at < now() - make_interval(secs => $2)
    ORDER BY looked_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
RETURNING booking_id;
