-- name: list_disputes
-- A booking's disputes, in order.
SELECT * FROM dispute WHERE booking_id = $1 ORDER BY opened, id;

-- name: open_dispute
-- A bank has taken money back, or asks about it.
INSERT INTO dispute (id, booking_id, state, amount, bank_amount, bank_currency, reason, due_by, closed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE $3 WHEN 'dropped' THEN clock_timestamp() END);

-- name: raise_inquiry
-- What a bank only asked about it has taken: its money, which may be another amount.
UPDATE dispute SET state = 'open', amount = $2, bank_amount = $3, bank_currency = $4, due_by = $5, closed = NULL
WHERE id = $1;

-- name: close_dispute
-- The bank has decided; of what it took for good, whose it was.
UPDATE dispute SET state = $2, closed = clock_timestamp(),
                   lost_venue = $3, lost_fees = $4, lost_tax = $5, lost_owed = $6
WHERE id = $1;

-- name: keep_fee
-- What a transaction took or gave for a dispute beside its amount; nothing where that was known.
INSERT INTO dispute_fee (id, dispute_id, amount, currency) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: flag_tickets
-- Whoever comes with a ticket of this booking is looked at.
UPDATE ticket SET state = 'flagged' WHERE booking_id = $1 AND state = 'valid';

-- name: clear_tickets
-- The payment stands: its tickets are good again.
UPDATE ticket SET state = 'valid' WHERE booking_id = $1 AND state = 'flagged';

-- name: disputes_to_look_at
-- Takes the bookings with open disputes that nobody asked Stripe about for a while; and, once a day, those that ended
-- lately, for a bank may think better of it.
UPDATE dispute SET looked_at = now()
WHERE id IN (
    SELECT id FROM dispute
    WHERE looked_at < now() - make_interval(secs => $2)
      AND (state IN ('inquiry', 'open') OR closed > now() - make_interval(days => $3) AND looked_at < now() - interval '1 day')
    ORDER BY looked_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
RETURNING booking_id;
