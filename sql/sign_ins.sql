-- name: count_attempt
-- Counts one more attempt to sign in within the window, and tells how many there were and how long the window lasts.
INSERT INTO sign_in_attempt AS attempt (subject, attempts) VALUES ($1, 1)
ON CONFLICT (subject) DO UPDATE SET
    attempts = CASE WHEN attempt.since < now() - make_interval(secs => $2) THEN 1 ELSE attempt.attempts + 1 END,
    since = CASE WHEN attempt.since < now() - make_interval(secs => $2) THEN now() ELSE attempt.since END
RETURNING attempts, extract(epoch FROM since + make_interval(secs => $2) - now())::float8 AS seconds_left

-- name: forget_attempts
-- Forgets the attempts on an e-mail address, whose owner has signed in.
DELETE FROM sign_in_attempt WHERE subject = $1

-- name: take_attempt_back
-- An attempt from a network address that succeeded is none.
UPDATE sign_in_attempt SET attempts = attempts - 1 WHERE subject = $1 AND attempts > 0

-- name: drop_old_attempts
-- Forgets attempts whose window is over, some at a time.
DELETE FROM sign_in_attempt
WHERE subject IN (
    SELECT subject FROM sign_in_attempt WHERE since < now() - make_interval(secs => $1) ORDER BY since LIMIT 100)
