-- name: match_clock
-- The time now, and when the first booking was made.
SELECT now() AS now, (SELECT at FROM booking_history ORDER BY number LIMIT 1) AS first_booking;

-- name: last_match
-- Up to when bookings and money were compared, and how many differences there were then.
SELECT until, counts FROM money_match ORDER BY until DESC, number DESC LIMIT 1;

-- name: open_differences
-- The differences of that match.
SELECT differences FROM money_match ORDER BY until DESC, number DESC LIMIT 1;

-- name: keep_transactions
-- Keeps what Stripe lists; a transaction never changes, so one that is there stays.
INSERT INTO stripe_transaction (id, intent_id, booking_id, kind, amount, currency, created, fee, fee_currency)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[],
                     $8::bigint[], $9::text[])
ON CONFLICT (id) DO NOTHING;

-- name: bookings_to_compare
-- The bookings that changed, or whose money moved, after one time and not after another; and those that are named.
WITH moved AS (SELECT DISTINCT intent_id FROM stripe_transaction WHERE created > $1 AND created <= $2)
SELECT booking_id AS id FROM booking_history WHERE at > $1 AND at <= $2
UNION
SELECT booking_id FROM refund WHERE accepted > $1 AND accepted <= $2
UNION
SELECT booking_id FROM transfer WHERE made > $1 AND made <= $2
UNION
SELECT booking_id FROM transfer_reversal WHERE stripe_id IS NOT NULL AND ended > $1 AND ended <= $2
UNION
SELECT booking_id FROM transfer_again WHERE made > $1 AND made <= $2
UNION
SELECT p.booking_id FROM moved JOIN payment p USING (intent_id)
UNION
SELECT t.booking_id FROM moved JOIN stripe_transaction t USING (intent_id) WHERE t.booking_id IS NOT NULL
UNION
SELECT unnest($3::text[])
ORDER BY id;

-- name: load_booked
-- What bookings say of their money; a refused checkout says nothing of any.
SELECT b.id, b.state, coalesce(b.amount, 0) AS amount, coalesce(b.currency, '') AS currency, p.intent_id, b.changed, b.tender,
       ((SELECT coalesce(sum(r.amount - r.owed), 0) FROM refund r
         WHERE r.booking_id = b.id AND r.accepted IS NOT NULL)
        + (SELECT coalesce(sum(d.amount - d.lost_owed), 0) FROM dispute d
           WHERE d.booking_id = b.id AND d.state = 'lost'))::bigint AS given_back,
       (CASE WHEN t.state = 'made' THEN t.sent ELSE 0 END + a.made + s.refused - v.made - v.pending - n.back)::bigint
           AS least_transferred,
       (coalesce(t.sent, 0) + a.sent + s.refused + s.found - v.made - n.back)::bigint AS most_transferred,
       (SELECT coalesce(sum(d.amount), 0) FROM dispute d WHERE d.booking_id = b.id AND d.state = 'open')::bigint AS disputed,
       m.lost AS lost_besides, m.disputed AS disputed_besides, k.bank_currencies, k.bank_amounts, k.bank_takes,
       f.fee_currencies, f.fees
FROM booking b
LEFT JOIN payment p ON p.booking_id = b.id
LEFT JOIN transfer t ON t.booking_id = b.id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(sought) FILTER (WHERE state = 'made'), 0) AS made,
           coalesce(sum(sought) FILTER (WHERE state = 'pending'), 0) AS pending
    FROM transfer_reversal r WHERE r.booking_id = b.id) AS v
CROSS JOIN LATERAL (
    SELECT coalesce(sum(sent) FILTER (WHERE state = 'made'), 0) AS made, coalesce(sum(sent), 0) AS sent
    FROM transfer_again r WHERE r.booking_id = b.id) AS a
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount) FILTER (WHERE state = 'refused'), 0) AS refused,
           coalesce(sum(amount) FILTER (WHERE state = 'found'), 0) AS found
    FROM surplus_transfer r WHERE r.booking_id = b.id) AS s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS back FROM surplus_reversal r WHERE r.booking_id = b.id) AS n
CROSS JOIN LATERAL (
    -- Of what bought nothing and had gone back otherwise: what goes back by a bank is as much as was paid.
    SELECT coalesce(sum(d.amount) FILTER (WHERE state = 'lost'), 0)::bigint AS lost,
           coalesce(sum(d.amount) FILTER (WHERE state = 'open'), 0)::bigint AS disputed
    FROM surplus_dispute d JOIN surplus_payment r USING (intent_id)
    WHERE d.booking_id = b.id AND r.refund_id <> d.id) AS m
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(bank_currency ORDER BY id), '{}') AS bank_currencies,
           coalesce(array_agg(bank_amount ORDER BY id), '{}') AS bank_amounts,
           coalesce(array_agg(amount ORDER BY id), '{}') AS bank_takes
    FROM (SELECT id, amount, bank_amount, bank_currency FROM dispute WHERE booking_id = b.id
          UNION ALL
          SELECT id, amount, bank_amount, bank_currency FROM surplus_dispute WHERE booking_id = b.id) AS d
    WHERE bank_amount IS NOT NULL) AS k
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(currency ORDER BY id), '{}') AS fee_currencies, coalesce(array_agg(amount ORDER BY id), '{}') AS fees
    FROM (SELECT c.id, c.currency, c.amount FROM dispute_fee c JOIN dispute d ON d.id = c.dispute_id
          WHERE d.booking_id = b.id
          UNION ALL
          SELECT c.id, c.currency, c.amount FROM dispute_fee c JOIN surplus_dispute d ON d.id = c.surplus_dispute_id
          WHERE d.booking_id = b.id) AS c) AS f
WHERE b.id = ANY ($1::text[]) ORDER BY b.id;

-- name: load_money
-- All money of bookings: of their own intents, and of all whose charges name them.
SELECT p.booking_id AS owner, t.* FROM payment p JOIN stripe_transaction t USING (intent_id)
WHERE p.booking_id = ANY ($1::text[])
UNION
SELECT n.booking_id AS owner, t.* FROM stripe_transaction n JOIN stripe_transaction t USING (intent_id)
WHERE n.booking_id = ANY ($1::text[])
ORDER BY owner, created, id;

-- name: load_strays
-- Money that moved in that time, or is named by its intents, and is no booking's.
SELECT t.* FROM stripe_transaction t
WHERE t.intent_id IN (
    SELECT intent_id FROM stripe_transaction WHERE created > $1 AND created <= $2 UNION SELECT unnest($3::text[]))
  AND NOT EXISTS (SELECT FROM payment p WHERE p.intent_id = t.intent_id)
  AND NOT EXISTS (
      SELECT FROM stripe_transaction n JOIN booking b ON b.id = n.booking_id WHERE n.intent_id = t.intent_id)
ORDER BY t.intent_id, t.created, t.id;

-- name: paid_out
-- Of every account that sent something to its bank: how much of it is there or on its way, by currency, and what it can
-- have had at most: all that was decided to be sent there, but for what is known to have come back.
SELECT a.account_id, o.currency, coalesce(m.amount, 0)::bigint AS transferred, p.currencies, p.amounts
FROM (SELECT organisation_id, array_agg(currency ORDER BY currency) AS currencies,
             array_agg(amount ORDER BY currency) AS amounts
      FROM (SELECT organisation_id, currency, sum(amount)::bigint AS amount FROM payout
            WHERE state IN ('pending', 'in_transit', 'paid') GROUP BY organisation_id, currency) AS of_currency
      GROUP BY organisation_id) AS p
JOIN connected_account a USING (organisation_id)
JOIN organisation o ON o.id = organisation_id
LEFT JOIN (
    SELECT organisation_id, sum(amount) AS amount
    FROM (SELECT organisation_id, sent AS amount FROM transfer WHERE sent > 0
          UNION ALL
          SELECT t.organisation_id, n.sent FROM transfer_again n JOIN transfer t USING (booking_id)
          UNION ALL
          SELECT t.organisation_id, n.amount FROM surplus_transfer n JOIN transfer t USING (booking_id)
          WHERE n.state <> 'reversed'
          UNION ALL
          SELECT t.organisation_id, -n.sought FROM transfer_reversal n JOIN transfer t USING (booking_id)
          WHERE n.state = 'made'
          UNION ALL
          SELECT t.organisation_id, -n.amount FROM surplus_reversal n JOIN transfer t USING (booking_id)) AS moved
    GROUP BY organisation_id) AS m USING (organisation_id)
ORDER BY a.account_id;

-- name: notice_differences
-- Has the refunds and disputes of bookings looked at, and intents that were paid for them and that nobody here knows, as
-- if a notice had come; once for each match.
INSERT INTO stripe_notice (id, type, intent_id)
SELECT concat_ws('-', 'match', $2::text, kind, booking_id), kind, intent_id
FROM payment, unnest(ARRAY['charge.refund.missed', 'charge.dispute.missed']) AS kind
WHERE booking_id = ANY ($1::text[]) AND intent_id IS NOT NULL
UNION ALL
SELECT concat_ws('-', 'match', $2::text, 'surplus', intent_id), 'charge.dispute.missed', intent_id
FROM surplus_payment WHERE booking_id = ANY ($1::text[])
UNION ALL
SELECT concat_ws('-', 'match', $2::text, paid.intent), 'payment_intent.succeeded', paid.intent
FROM unnest($3::text[]) AS paid (intent)
WHERE NOT EXISTS (SELECT FROM payment WHERE intent_id = paid.intent)
  AND NOT EXISTS (SELECT FROM surplus_payment WHERE intent_id = paid.intent)
ON CONFLICT (id) DO NOTHING;

-- name: finish_match
-- A match has come to its end.
INSERT INTO money_match (since, until, transactions, bookings, counts, differences)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb);
