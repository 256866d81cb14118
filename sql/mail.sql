-- name: lease_mails
-- Takes mails that are due, for as long as a batch may last, and how each was tried before. None is sent that nobody
-- sent for days: it would be news of long ago.
UPDATE mail SET tries = tries + 1, leased_until = now() + make_interval(secs => $2)
WHERE id IN (
    SELECT id FROM mail
    WHERE sent IS NULL AND given_up IS NULL AND due <= now() AND (leased_until IS NULL OR leased_until < now())
    ORDER BY due, id
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
RETURNING id, created < now() - make_interval(secs => $3) AS stale;

-- name: load_mails
-- What mails say: of their bookings and events, as they are now. Places that were given back are none any more.
SELECT m.id, m.kind, m.ordinal, m.tries, b.id AS booking_id, b.buyer_name, b.buyer_email, b.amount, b.currency, b.tender,
       e.name AS event, e.venue, e.starts_at,
       (SELECT count(*) FROM booking_line l WHERE l.booking_id = b.id AND NOT EXISTS (
            SELECT FROM refund r WHERE r.booking_id = b.id AND r.accepted IS NOT NULL AND l.line = ANY (r.lines))
       )::int AS places
FROM mail m JOIN booking b ON b.id = m.booking_id JOIN event e ON e.id = b.event_id
WHERE m.id = ANY ($1::bigint[]) ORDER BY m.due, m.id;

-- name: load_invitations
-- The same of mails that invite somebody to choose a password, while that may still be done.
SELECT m.id, m.tries, i.id AS invitation, i.email, i.used IS NULL AND i.expires_at > now() AS good
FROM mail m JOIN account_invitation i ON i.id = m.invitation_id
WHERE m.id = ANY ($1::bigint[]) ORDER BY m.due, m.id;

-- name: load_payout_mails
-- The same of mails that tell a manager of a payout which a bank refused.
SELECT m.id, m.kind, m.tries, p.stripe_id, p.amount, p.currency, p.failure_code, p.organisation_id, p.created, s.email,
       o.name AS organisation
FROM mail m
JOIN payout p ON p.stripe_id = m.payout_id
JOIN organisation o ON o.id = p.organisation_id
JOIN staff s ON s.id = m.member_id
WHERE m.id = ANY ($1::bigint[]) ORDER BY m.due, m.id;

-- name: finish_mail
-- A server took it.
UPDATE mail SET sent = now(), leased_until = NULL, fault = NULL WHERE id = $1 AND sent IS NULL AND given_up IS NULL;

-- name: postpone_mail
-- It was not taken: again later.
UPDATE mail SET due = now() + make_interval(secs => $2), leased_until = NULL, fault = $3
WHERE id = $1 AND sent IS NULL;

-- name: give_up_mail
-- It never will be taken.
UPDATE mail SET given_up = now(), leased_until = NULL, fault = $2 WHERE id = $1 AND sent IS NULL AND given_up IS NULL;

-- name: give_mails_back
-- They were leased and not tried: others may.
UPDATE mail SET tries = tries - 1, leased_until = NULL WHERE id = ANY ($1::bigint[]) AND sent IS NULL;

-- name: keep_mail
-- Puts a mail into the mailbox.
INSERT INTO mail_kept (mail_id, recipient, subject, body) VALUES ($1, $2, $3, $4) ON CONFLICT (mail_id) DO NOTHING;

-- name: list_kept
-- The mailbox, the newest first.
SELECT mail_id, recipient, subject, at FROM mail_kept ORDER BY at DESC, mail_id DESC LIMIT $1;

-- name: load_kept
-- One mail of the mailbox.
SELECT mail_id, recipient, subject, body, at FROM mail_kept WHERE mail_id = $1;
