-- name: find_staff_by_email
-- The account that signs in with this e-mail address, with its password's hash.
SELECT id, email, password_hash, roles FROM staff WHERE email = $1

-- name: has_admin
-- Tells whether anybody may administer the house.
SELECT EXISTS (SELECT FROM staff WHERE 'admin' = ANY (roles))

-- name: lock_staff
-- Makes processes that would create the first administrator wait for one another.
SELECT pg_advisory_xact_lock(7205, 0)

-- name: create_staff
-- Writes a new member of staff, or gives the account of this e-mail address this password and these roles.
INSERT INTO staff (id, email, password_hash, roles) VALUES ($1, $2, $3, $4)
ON CONFLICT ON CONSTRAINT one_staff_per_email
    DO UPDATE SET password_hash = excluded.password_hash, roles = excluded.roles

-- name: open_session
-- Keeps the hash of a token that was just handed out; it ends by PostgreSQL's clock.
INSERT INTO staff_session (token_hash, staff_id, expires_at)
VALUES ($1, $2, now() + make_interval(secs => $3))
RETURNING expires_at

-- name: drop_ended_sessions
-- Forgets sessions that have ended, some at a time.
DELETE FROM staff_session
WHERE token_hash IN (SELECT token_hash FROM staff_session WHERE expires_at < now() ORDER BY expires_at LIMIT 100)

-- name: find_session
-- Whose token this is, while the session lasts; and whether they are some organisation's, and not the house's.
SELECT staff.id, staff.email, staff.roles,
       NOT 'admin' = ANY (staff.roles)
       AND EXISTS (SELECT FROM organisation_member WHERE member_id = staff.id) AS bound
FROM staff_session
JOIN staff ON staff.id = staff_session.staff_id
WHERE staff_session.token_hash = $1 AND staff_session.expires_at > now()

-- name: close_session
-- Signs out: returns nothing where the token was not good any more.
DELETE FROM staff_session WHERE token_hash = $1 AND expires_at > now() RETURNING staff_id

-- name: list_open_sessions
-- Which of these tokens are still good.
SELECT token_hash FROM staff_session WHERE token_hash = ANY ($1::bytea[]) AND expires_at > now()
