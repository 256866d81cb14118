-- name: transfers_due
-- Bookings whose organisation's money is due, can be sent, and waits for no bank and no refund that is on its way; but
-- for some.
SELECT t.booking_id
FROM transfer t
JOIN event e ON e.id = t.event_id
JOIN organisation o ON o.id = t.organisation_id
JOIN connected_account a ON a.organisation_id = o.id
JOIN booking b ON b.id = t.booking_id
WHERE t.state = 'waiting' AND e.starts_at + make_interval(days => o.hold_back_days) <= now()
  AND a.account_id IS NOT NULL AND a.payouts_enabled AND a.transfers_enabled
  AND b.state IN ('confirmed', 'partially_refunded', 'refunded', 'charged_back')
  AND NOT EXISTS (SELECT FROM refund r WHERE r.booking_id = b.id AND r.state = 'pending' AND r.accepted IS NULL)
  AND t.booking_id <> ALL ($2::text[])
ORDER BY e.starts_at, t.booking_id
LIMIT $1;

-- name: waiting_for_accounts
-- Organisations whose money is due and that cannot be paid, with how many bookings that is.
SELECT t.organisation_id, count(*) AS bookings
FROM transfer t
JOIN event e ON e.id = t.event_id
JOIN organisation o ON o.id = t.organisation_id
LEFT JOIN connected_account a ON a.organisation_id = o.id
WHERE t.state = 'waiting' AND e.starts_at + make_interval(days => o.hold_back_days) <= now()
  AND NOT coalesce(a.account_id IS NOT NULL AND a.payouts_enabled AND a.transfers_enabled, false)
GROUP BY t.organisation_id ORDER BY t.organisation_id;

-- name: lock_transfer
-- One transfer for a decision about it, with where its organisation is paid, and whether a refund is on its way.
SELECT t.*, b.state AS booking_state,
       (SELECT a.account_id FROM connected_account a
        WHERE a.organisation_id = t.organisation_id AND a.payouts_enabled AND a.transfers_enabled) AS ready_account,
       EXISTS (SELECT FROM refund r WHERE r.booking_id = b.id AND r.state = 'pending' AND r.accepted IS NULL) AS refunding
FROM transfer t JOIN booking b ON b.id = t.booking_id
WHERE t.booking_id = $1
FOR UPDATE OF t;

-- name: load_payables
-- What bookings of an organisation's brought and what of it was given back, as booking/payouts.py wants it: one row each.
WITH sold AS NOT MATERIALIZED (
    SELECT booking_id, line, amount, fee, tax,
           CASE WHEN fee = 0 THEN 0 ELSE div(tax::numeric * fee, amount + fee)::bigint END AS fee_tax
    FROM booking_line)
SELECT b.id AS booking_id, b.currency, s.venue, s.fees, s.tax, s.price_tax, s.tickets, m.fee_basis_points, m.fee_per_ticket,
       r.back_venue, r.back_fees, r.back_tax, w.gone_tax, w.gone_price_tax, d.lost_venue, d.lost_fees, d.lost_tax
FROM booking b
JOIN event e ON e.id = b.event_id
LEFT JOIN venue v ON v.id = e.venue_id
LEFT JOIN transfer t ON t.booking_id = b.id
CROSS JOIN LATERAL (
    SELECT sum(amount - (l.tax - fee_tax))::bigint AS venue, sum(fee - fee_tax)::bigint AS fees,
           sum(l.tax)::bigint AS tax, sum(l.tax - fee_tax)::bigint AS price_tax,
           count(*) FILTER (WHERE amount > 0) AS tickets
    FROM sold AS l WHERE booking_id = b.id) AS s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(venue), 0)::bigint AS back_venue, coalesce(sum(fees), 0)::bigint AS back_fees,
           coalesce(sum(refund.tax), 0)::bigint AS back_tax
    FROM refund WHERE booking_id = b.id AND accepted IS NOT NULL) AS r
CROSS JOIN LATERAL (
    -- Of refunds that are just what their lines were sold for.
    SELECT coalesce(sum(of_lines.tax), 0)::bigint AS gone_tax, coalesce(sum(of_lines.price_tax), 0)::bigint AS gone_price_tax
    FROM refund
    CROSS JOIN LATERAL (
        SELECT sum(amount - (l.tax - fee_tax)) AS venue, sum(fee - fee_tax) AS fees, sum(l.tax) AS tax,
               sum(l.tax - fee_tax) AS price_tax
        FROM sold AS l WHERE l.booking_id = b.id AND l.line = ANY (refund.lines)) AS of_lines
    WHERE refund.booking_id = b.id AND accepted IS NOT NULL
      AND (refund.venue, refund.fees, refund.tax) = (of_lines.venue, of_lines.fees, of_lines.tax)) AS w
CROSS JOIN LATERAL (
    SELECT coalesce(sum(lost_venue), 0)::bigint AS lost_venue, coalesce(sum(lost_fees), 0)::bigint AS lost_fees,
           coalesce(sum(lost_tax), 0)::bigint AS lost_tax
    FROM dispute WHERE booking_id = b.id AND state = 'lost') AS d
JOIN LATERAL (
    SELECT fee_basis_points, fee_per_ticket FROM organisation_terms
    WHERE organisation_id = coalesce(t.organisation_id, v.organisation_id) AND since <= b.created
    ORDER BY since DESC LIMIT 1) AS m ON true
WHERE b.id = ANY ($1::text[]);

-- name: decide_transfer
-- How much is sent, to whom, and what of what is due is kept.
UPDATE transfer SET state = $2, venue = $3, tax = $4, fee = $5, netted = $6, sent = $7, account_id = $8,
                    decided = clock_timestamp()
WHERE booking_id = $1;

-- name: lock_receivables
-- What an organisation owes, the oldest first: each is taken once.
SELECT id, amount - recovered AS open FROM receivable
WHERE organisation_id = $1 AND recovered < amount
ORDER BY created, id
FOR UPDATE;

-- name: recover
-- A part of it is kept of a transfer; of one that is sent again it may be another part of the same.
WITH kept AS (
    INSERT INTO netting (receivable_id, booking_id, amount) VALUES ($1, $2, $3)
    ON CONFLICT (receivable_id, booking_id) DO UPDATE SET amount = netting.amount + excluded.amount)
UPDATE receivable SET recovered = recovered + $3 WHERE id = $1;

-- name: load_transfer
-- One transfer, with the currency of its booking.
SELECT t.*, b.currency FROM transfer t JOIN booking b ON b.id = t.booking_id WHERE t.booking_id = $1;

-- name: keep_transfer
-- Stripe has it; nothing where that was known.
UPDATE transfer SET state = 'made', stripe_id = $2, made = clock_timestamp()
WHERE booking_id = $1 AND state = 'decided'
RETURNING sent;

-- name: reversed_before
-- What was decided to come back of a transfer and was not sent again; and what Stripe was asked for and has not refused,
-- with what came back of it besides.
SELECT r.venue - a.venue AS venue, r.tax - a.tax AS tax, r.fee - a.fee AS fee, r.sought + s.amount AS sought
FROM (SELECT coalesce(sum(venue), 0)::bigint AS venue, coalesce(sum(tax), 0)::bigint AS tax,
             coalesce(sum(fee), 0)::bigint AS fee,
             coalesce(sum(sought) FILTER (WHERE state <> 'refused'), 0)::bigint AS sought
      FROM transfer_reversal WHERE booking_id = $1) AS r,
     (SELECT coalesce(sum(venue), 0)::bigint AS venue, coalesce(sum(tax), 0)::bigint AS tax,
             coalesce(sum(fee), 0)::bigint AS fee
      FROM transfer_again WHERE booking_id = $1) AS a,
     (SELECT coalesce(sum(amount), 0)::bigint AS amount
      FROM surplus_reversal n JOIN transfer t ON t.stripe_id = n.transfer_id WHERE t.booking_id = $1) AS s;

-- name: account_of_transfer
-- Where its organisation is paid, whether it can be now or not.
SELECT a.account_id FROM transfer t JOIN connected_account a USING (organisation_id) WHERE t.booking_id = $1;

-- name: decide_again
-- It is sent again.
INSERT INTO transfer_again (id, booking_id, cause, venue, tax, fee, returned, netted, sent, account_id, key, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: load_again
-- The one that a row of the outbox is for, with the currency of its booking, and whether its own turn has come: Stripe
-- lets no more out of a charge than it brought, so what went before it is there by then, and what is to come back is back.
SELECT a.*, b.currency,
       t.state <> 'decided' AND NOT EXISTS (SELECT FROM transfer_reversal r
                                            WHERE r.booking_id = a.booking_id AND r.state = 'pending') AS has_its_turn
FROM transfer_again a JOIN booking b ON b.id = a.booking_id JOIN transfer t ON t.booking_id = a.booking_id
WHERE a.key = $1;

-- name: keep_again
-- Stripe has it; nothing where that was known.
UPDATE transfer_again SET state = 'made', stripe_id = $2, made = clock_timestamp()
WHERE id = $1 AND state = 'decided'
RETURNING sent;

-- name: decide_reversal
-- An organisation owes a part back.
INSERT INTO transfer_reversal (id, booking_id, cause, venue, tax, fee, sought, key, state, ended)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $9 = 'nothing' THEN clock_timestamp() END);

-- name: load_reversal
-- The reversal that a row of the outbox is for.
SELECT * FROM transfer_reversal WHERE key = $1;

-- name: keep_reversal
-- Stripe has made it; nothing where it has ended.
UPDATE transfer_reversal SET state = 'made', stripe_id = $2, ended = clock_timestamp()
WHERE id = $1 AND state = 'pending'
RETURNING sought;

-- name: refuse_reversal
-- Stripe will not; nothing where it has ended.
UPDATE transfer_reversal SET state = 'refused', fault = $2, ended = clock_timestamp()
WHERE id = $1 AND state = 'pending'
RETURNING sought;

-- name: add_receivable
-- The organisation owes it: to be kept of what it is due next.
INSERT INTO receivable (id, organisation_id, booking_id, amount, reason)
SELECT $1, organisation_id, booking_id, $3, $4 FROM transfer WHERE booking_id = $2;
