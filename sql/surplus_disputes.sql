-- name: surplus_of_booking
-- What was paid for a booking and bought nothing.
SELECT intent_id FROM surplus_payment WHERE booking_id = $1 ORDER BY intent_id;

-- name: lock_surplus
-- One such payment, and how it went back.
SELECT amount, refund_id FROM surplus_payment WHERE intent_id = $1 FOR UPDATE;

-- name: list_surplus_disputes
-- The disputes of such a payment.
SELECT * FROM surplus_dispute WHERE intent_id = $1 ORDER BY opened, id;

-- name: open_surplus_dispute
-- A bank has taken it back, or asks about it.
INSERT INTO surplus_dispute (id, intent_id, booking_id, state, amount, bank_amount, bank_currency, reason, closed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE $4 WHEN 'dropped' THEN clock_timestamp() END);

-- name: raise_surplus_inquiry
-- What a bank only asked about it has taken: its money, which may be another amount.
UPDATE surplus_dispute SET state = 'open', amount = $2, bank_amount = $3, bank_currency = $4, closed = NULL WHERE id = $1;

-- name: close_surplus_dispute
-- The bank has decided.
UPDATE surplus_dispute SET state = $2, closed = clock_timestamp() WHERE id = $1;

-- name: keep_surplus_fee
-- What a transaction took or gave for such a dispute beside its amount; nothing where that was known.
INSERT INTO dispute_fee (id, surplus_dispute_id, amount, currency) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: owe_surplus_again
-- The bank by which it went back gave it back: it is the buyer's still. Nothing where it went back otherwise.
UPDATE surplus_payment SET refund_id = NULL, returned = NULL WHERE intent_id = $1 AND refund_id = $2 RETURNING intent_id;

-- name: refund_surplus_again
-- Decides that it goes back after all.
INSERT INTO outbox (booking_id, event_id, act, key, intent_id)
SELECT id, event_id, 'refund_surplus', $2, $3 FROM booking WHERE id = $1
ON CONFLICT (key) DO NOTHING;

-- name: surplus_disputes_to_look_at
-- Takes the bookings with such disputes as are open or ended lately, as those of their own.
UPDATE surplus_dispute SET looked_at = now()
WHERE id IN (
    SELECT id FROM surplus_dispute
    WHERE looked_at < now() - make_interval(secs => $2)
      AND (state IN ('inquiry', 'open') OR closed > now() - make_interval(days => $3) AND looked_at < now() - interval '1 day')
    ORDER BY looked_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
RETURNING booking_id;
