-- name: claim_key
-- Takes a key for its first request, or takes it over from one that is forgotten or died; returns nothing otherwise.
INSERT INTO idempotency_key AS known (caller, method, path, key, request_hash) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (caller, method, path, key) DO UPDATE SET
    request_hash = excluded.request_hash, attempt = known.attempt + 1, status = NULL, body = NULL, location = NULL,
    created = now()
WHERE known.created < now() - make_interval(hours => $6)
    OR (known.status IS NULL AND known.request_hash = excluded.request_hash
        AND known.created < now() - make_interval(secs => $7))
RETURNING attempt

-- name: find_answer
-- What became of a key: its request's hash and, once it was answered, the answer.
SELECT request_hash, status, body, location FROM idempotency_key
WHERE caller = $1 AND method = $2 AND path = $3 AND key = $4

-- name: keep_answer
-- Keeps the answer of the request that holds the key; one that was taken over keeps nothing.
UPDATE idempotency_key SET status = $6, body = $7, location = $8
WHERE caller = $1 AND method = $2 AND path = $3 AND key = $4 AND attempt = $5 AND status IS NULL
RETURNING attempt

-- name: give_key_back
-- Forgets a request that came to no decision, so that it may be sent again at once.
DELETE FROM idempotency_key
WHERE caller = $1 AND method = $2 AND path = $3 AND key = $4 AND attempt = $5 AND status IS NULL

-- name: drop_old_keys
-- Forgets keys that are older than they are promised to be kept, some at a time; another worker forgets others.
DELETE FROM idempotency_key
WHERE (caller, method, path, key) IN (
    SELECT caller, method, path, key FROM idempotency_key
    WHERE created < now() - make_interval(hours => $1) ORDER BY created LIMIT $2
    FOR UPDATE SKIP LOCKED)
