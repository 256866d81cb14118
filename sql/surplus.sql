-- name: write_check
-- Decides to look, later, whether Stripe has made a booking's transfer more than once.
INSERT INTO outbox (booking_id, event_id, act, key, due)
SELECT booking_id, event_id, 'check_transfers', $2, now() + make_interval(secs => $3) FROM transfer WHERE booking_id = $1
ON CONFLICT (key) DO NOTHING;

-- name: known_transfers
-- What Stripe is known to have made for a booking, once and again; NULL for what is on its way.
SELECT stripe_id, NULL AS key FROM transfer WHERE booking_id = $1 AND state IN ('decided', 'made')
UNION ALL
SELECT stripe_id, id FROM transfer_again WHERE booking_id = $1 AND state <> 'nothing'
UNION ALL
SELECT stripe_id, 'surplus' FROM surplus_transfer WHERE booking_id = $1;

-- name: known_reversals
-- What is known to have come back of them.
SELECT stripe_id FROM transfer_reversal WHERE booking_id = $1 AND stripe_id IS NOT NULL
UNION ALL
SELECT reversal_id FROM surplus_transfer WHERE booking_id = $1 AND reversal_id IS NOT NULL
UNION ALL
SELECT stripe_id FROM surplus_reversal WHERE booking_id = $1;

-- name: transfers_at_rest
-- Those of a booking that nobody here is taking anything back of: what comes back besides may be why Stripe refuses ours,
-- and only then is it known what is still owed.
SELECT stripe_id FROM transfer t
WHERE booking_id = $1 AND state = 'made'
  AND NOT EXISTS (SELECT FROM transfer_reversal r WHERE r.booking_id = t.booking_id AND r.state = 'pending')
UNION ALL
SELECT stripe_id FROM transfer_again WHERE booking_id = $1 AND state = 'made'
UNION ALL
SELECT stripe_id FROM surplus_transfer WHERE booking_id = $1 AND state <> 'found';

-- name: add_reversal
-- What came back though nobody decided it.
INSERT INTO surplus_reversal (stripe_id, booking_id, transfer_id, amount) VALUES ($1, $2, $3, $4);

-- name: add_surplus
-- A transfer that nobody decided; nothing where that was known.
INSERT INTO surplus_transfer (stripe_id, booking_id, amount, key) VALUES ($1, $2, $3, $4)
ON CONFLICT (stripe_id) DO NOTHING
RETURNING stripe_id;

-- name: load_surplus
-- The one that a row of the outbox is for, with the currency of its booking.
SELECT s.*, b.currency FROM surplus_transfer s JOIN booking b ON b.id = s.booking_id WHERE s.key = $1;

-- name: end_surplus
-- It was taken back, or never will be; nothing where that was known.
UPDATE surplus_transfer SET state = $2, reversal_id = $3, fault = $4, ended = clock_timestamp()
WHERE key = $1 AND state = 'found'
RETURNING amount;

-- name: stuck_transfers
-- What Stripe refuses for so long that nobody asks any more, of one organisation or of all.
SELECT o.booking_id, o.event_id, t.organisation_id, o.act, o.attempt, o.fault, o.stuck,
       coalesce(a.sent, t.sent, 0)::bigint AS amount, b.currency
FROM outbox o JOIN transfer t ON t.booking_id = o.booking_id JOIN booking b ON b.id = o.booking_id
LEFT JOIN transfer_again a ON a.key = o.key
WHERE o.stuck IS NOT NULL AND o.act IN ('transfer', 'transfer_again')
  AND ($1::text IS NULL OR t.organisation_id = $1)
ORDER BY o.stuck, o.id
LIMIT $2;

-- name: count_stuck
-- How much is stuck, by what it is.
SELECT act, count(*) AS works FROM outbox WHERE stuck IS NOT NULL GROUP BY act;

-- name: retry_transfers
-- Asks again, once: of an organisation, or of one booking of its.
UPDATE outbox SET due = now(), stuck = NULL
WHERE stuck IS NOT NULL AND act IN ('transfer', 'transfer_again')
  AND booking_id IN (SELECT booking_id FROM transfer
                     WHERE organisation_id = $1 AND ($2::text IS NULL OR booking_id = $2))
RETURNING booking_id;
