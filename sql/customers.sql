-- name: load_customer
-- The customer that a holder's account is at Stripe.
SELECT c.customer_id FROM account a JOIN stripe_customer c ON c.account_id = a.id WHERE a.holder = $1;

-- name: begin_customer
-- An account is to be a customer: on record before Stripe is asked. One that is there stays as it is; nothing where the
-- holder is no account's.
INSERT INTO stripe_customer AS known (account_id) SELECT id FROM account WHERE holder = $1
ON CONFLICT (account_id) DO UPDATE SET attempt = known.attempt
RETURNING account_id, attempt, customer_id, begun, xmax = 0 AS is_new,
          (SELECT email FROM account WHERE id = account_id) AS email;

-- name: forget_customer
-- Stripe has deleted it: it is on record as gone, and the next one is made under another key.
UPDATE stripe_customer SET customer_id = NULL, attempt = attempt + 1, gone = gone || customer_id
WHERE account_id = (SELECT id FROM account WHERE holder = $1) AND customer_id = $2;

-- name: next_customer_attempt
-- Stripe answers this key with a failure for ever: the next one has another.
UPDATE stripe_customer SET attempt = greatest(attempt, $2::int + 1) WHERE account_id = $1 AND customer_id IS NULL;

-- name: keep_customer
-- Stripe has made it; one that is there is never replaced.
UPDATE stripe_customer SET customer_id = coalesce(customer_id, $2) WHERE account_id = $1 RETURNING customer_id;
