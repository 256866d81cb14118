-- name: keep_payout
-- What Stripe says of a payout of an account of ours: one that is new, or has moved. Nothing where it is none of ours, or
-- where that is old news.
INSERT INTO payout AS known (stripe_id, organisation_id, account_id, amount, currency, state, automatic, arrives,
                             failure_code, created)
SELECT $2, organisation_id, account_id, $3, $4, $5, $6, $7, $8, $9 FROM connected_account WHERE account_id = $1
ON CONFLICT (stripe_id) DO UPDATE
SET state = excluded.state, arrives = excluded.arrives, failure_code = excluded.failure_code
WHERE known.account_id = excluded.account_id AND known.state = ANY ($10::text[])
  AND (known.state, known.arrives, known.failure_code)
      IS DISTINCT FROM (excluded.state, excluded.arrives, excluded.failure_code)
RETURNING organisation_id;

-- name: accounts_to_ask
-- Accounts whose payouts nobody asked Stripe for lately, and from when on: since the last look, or since the oldest payout
-- that may still become another. Who has told Stripe nothing has no bank there. In no order, so that those that cannot be
-- read keep no others from their turn.
SELECT a.account_id, now() AS now,
       least(coalesce(a.payouts_looked_at, a.begun),
             (SELECT min(p.created) FROM payout p
              WHERE p.organisation_id = a.organisation_id
                AND (p.state IN ('pending', 'in_transit')
                     OR p.state = 'paid' AND p.arrives > now() - make_interval(days => $3)))) AS since
FROM connected_account a
WHERE a.account_id IS NOT NULL AND a.details_submitted
  AND (a.payouts_looked_at IS NULL OR a.payouts_looked_at < now() - make_interval(secs => $2))
ORDER BY random()
LIMIT $1;

-- name: payouts_read
-- All of them were read, as of then.
UPDATE connected_account SET payouts_looked_at = $2 WHERE account_id = $1;

-- name: list_payouts
-- A page of an organisation's payouts, the newest first, before the (time, id) given or from the newest on.
SELECT stripe_id, amount, currency, state, automatic, arrives, failure_code, created FROM payout
WHERE organisation_id = $1 AND ($2::timestamptz IS NULL OR (created, stripe_id) < ($2, $3::text))
ORDER BY created DESC, stripe_id DESC
LIMIT $4;
