-- name: lock_invitations
-- One after another for an address, lest each finds that there were few.
SELECT pg_advisory_xact_lock(7206, hashtext($1))

-- name: count_invitations
-- How often this address was written to lately.
SELECT count(*) FROM account_invitation WHERE email = $1 AND created > now() - make_interval(secs => $2)

-- name: invite
-- Writes down that this address may choose a password, and the mail that says so.
WITH invited AS (
    INSERT INTO account_invitation (id, email, expires_at) VALUES ($1, $2, now() + make_interval(secs => $3))
    RETURNING id)
INSERT INTO mail (invitation_id, kind) SELECT id, 'invited' FROM invited

-- name: drop_old_invitations
-- Forgets invitations, and their mails, some time after their end; some at a time.
DELETE FROM account_invitation
WHERE id IN (
    SELECT id FROM account_invitation WHERE created < now() - make_interval(secs => $1) ORDER BY created LIMIT 100)

-- name: use_invitation
-- Takes an invitation, once: the address that it was sent to, or nothing.
UPDATE account_invitation SET used = now() WHERE id = $1 AND used IS NULL AND expires_at > now() RETURNING email

-- name: end_invitations
-- Who has chosen a password needs none of the other invitations of this address.
UPDATE account_invitation SET used = now() WHERE email = $1 AND used IS NULL

-- name: set_password
-- Makes the account of this address, or gives it another password.
INSERT INTO account (id, email, password_hash, holder) VALUES ($1, $2, $3, $4)
ON CONFLICT ON CONSTRAINT one_account_per_email DO UPDATE SET password_hash = excluded.password_hash
RETURNING id, email, holder

-- name: find_account
-- The account that signs in with this e-mail address, with its password's hash.
SELECT id, email, holder, password_hash FROM account WHERE email = $1

-- name: keep_password
-- Whether the password that was compared is the account's still; it stays so until this transaction ends.
SELECT id FROM account WHERE id = $1 AND password_hash = $2 FOR SHARE

-- name: open_account_session
-- Begins a session; it ends by PostgreSQL's clock.
INSERT INTO account_session (id, account_id, expires_at) VALUES ($1, $2, now() + make_interval(secs => $3))
RETURNING expires_at

-- name: end_oldest_sessions
-- Ends an account's sessions but for the latest.
DELETE FROM account_session
WHERE id IN (SELECT id FROM account_session WHERE account_id = $1 ORDER BY created DESC, id OFFSET $2)

-- name: end_all_sessions
-- Ends all sessions of an account: its password was changed.
DELETE FROM account_session WHERE account_id = $1

-- name: drop_ended_account_sessions
-- Forgets sessions that have ended, some at a time.
DELETE FROM account_session
WHERE id IN (SELECT id FROM account_session WHERE expires_at < now() ORDER BY expires_at LIMIT 100)

-- name: close_account_session
-- Signs out: returns nothing where the session had ended.
DELETE FROM account_session WHERE id = $1 AND expires_at > now() RETURNING account_id

-- name: list_open_account_sessions
-- Which of these sessions last.
SELECT id FROM account_session WHERE id = ANY ($1::text[]) AND expires_at > now()
