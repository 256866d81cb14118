-- name: begin_account
-- An organisation is to have an account: on record before Stripe is asked. One that is there stays as it is; where Stripe
-- opened none, another country may be tried.
INSERT INTO connected_account AS known (organisation_id, country) VALUES ($1, $2)
ON CONFLICT (organisation_id) DO UPDATE
SET country = CASE WHEN known.account_id IS NULL THEN excluded.country ELSE known.country END
RETURNING account_id, attempt, begun, country, xmax = 0 AS is_new, now() AS now;

-- name: next_attempt
-- Stripe answers this key with a failure for ever: the next one has another.
UPDATE connected_account SET attempt = greatest(attempt, $2::int + 1) WHERE organisation_id = $1 AND account_id IS NULL;

-- name: keep_account
-- Stripe has opened it, or says how it stands; one that is there is never replaced.
UPDATE connected_account
SET looked_at = $2, account_id = $3, country = $4, details_submitted = $5, charges_enabled = $6, payouts_enabled = $7,
    transfers_enabled = $8
WHERE organisation_id = $1 AND coalesce(account_id, $3) = $3
RETURNING account_id;

-- name: load_account
-- The account that an organisation has at Stripe.
SELECT account_id FROM connected_account WHERE organisation_id = $1;

-- name: notice_account
-- Stripe says that something of an account has changed; nothing where it is none of ours.
UPDATE connected_account SET noticed = clock_timestamp() WHERE account_id = $1 RETURNING organisation_id;

-- name: accounts_to_look_at
-- Accounts that Stripe said something about, or that nobody asked it about for a while: less often where all is well. In
-- no order, so that those of which it says nothing keep no others from their turn.
SELECT organisation_id, account_id, now() AS now FROM connected_account
WHERE account_id IS NOT NULL
  AND (looked_at IS NULL OR noticed >= looked_at
       OR looked_at < now() - make_interval(secs => CASE WHEN payouts_enabled AND transfers_enabled THEN $2::float8 ELSE $3::float8 END))
ORDER BY random()
LIMIT $1;
