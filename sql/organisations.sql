-- name: create_organisation
-- Writes an organisation; nothing where the id is taken.
INSERT INTO organisation (id, name, currency, hold_back_days) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: add_terms
-- What we keep of tickets from now on.
INSERT INTO organisation_terms (organisation_id, fee_basis_points, fee_per_ticket) VALUES ($1, $2, $3);

-- name: change_organisation
-- What of it may change.
UPDATE organisation SET name = $2, hold_back_days = $3 WHERE id = $1;

-- name: load_organisation
-- One organisation with its terms of now and its account; with a member of staff, only where that is one of it.
SELECT o.*, t.fee_basis_points, t.fee_per_ticket, a.organisation_id IS NOT NULL AS has_account, a.country, a.account_id,
       a.details_submitted, a.charges_enabled, a.payouts_enabled, a.transfers_enabled, a.looked_at,
       a.account_id IS NOT NULL AND a.payouts_enabled AND a.transfers_enabled AS ready
FROM organisation o
JOIN LATERAL (SELECT * FROM organisation_terms WHERE organisation_id = o.id ORDER BY since DESC LIMIT 1) AS t ON true
LEFT JOIN connected_account a ON a.organisation_id = o.id
WHERE o.id = $1
  AND ($2::text IS NULL OR EXISTS (
      SELECT FROM organisation_member m WHERE m.organisation_id = o.id AND m.member_id = $2));

-- name: lock_organisation
-- Makes changes of one organisation wait for one another; nothing where there is none.
SELECT id FROM organisation WHERE id = $1 FOR NO KEY UPDATE;

-- name: list_organisations
-- A page of them, by when they were made; with a member of staff, only those that have that one.
SELECT o.*, t.fee_basis_points, t.fee_per_ticket, a.organisation_id IS NOT NULL AS has_account, a.country, a.account_id,
       a.details_submitted, a.charges_enabled, a.payouts_enabled, a.transfers_enabled, a.looked_at,
       a.account_id IS NOT NULL AND a.payouts_enabled AND a.transfers_enabled AS ready
FROM organisation o
JOIN LATERAL (SELECT * FROM organisation_terms WHERE organisation_id = o.id ORDER BY since DESC LIMIT 1) AS t ON true
LEFT JOIN connected_account a ON a.organisation_id = o.id
WHERE ($1::text IS NULL OR EXISTS (
          SELECT FROM organisation_member m WHERE m.organisation_id = o.id AND m.member_id = $1))
  AND ($2::timestamptz IS NULL OR (o.created, o.id) > ($2, $3::text))
ORDER BY o.created, o.id
LIMIT $4;

-- name: add_member
-- A member of staff, by e-mail address, may see an organisation; nothing where there is no such account.
INSERT INTO organisation_member (organisation_id, member_id)
SELECT $1, s.id FROM staff s WHERE s.email = $2
ON CONFLICT (organisation_id, member_id) DO UPDATE SET member_id = excluded.member_id
RETURNING member_id;

-- name: remove_member
-- That one may not any more.
DELETE FROM organisation_member
WHERE organisation_id = $1 AND member_id = (SELECT id FROM staff WHERE email = $2)
RETURNING member_id;

-- name: create_venue
-- Writes a venue; nothing where the id is taken.
INSERT INTO venue (id, organisation_id, name) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING RETURNING id;

-- name: load_venue
-- One venue of an organisation.
SELECT * FROM venue WHERE id = $1 AND organisation_id = $2;

-- name: list_venues
-- A page of an organisation's venues, by when they were made.
SELECT * FROM venue WHERE organisation_id = $1 AND ($2::timestamptz IS NULL OR (created, id) > ($2, $3::text))
ORDER BY created, id
LIMIT $4;

-- name: lock_event_alone
-- Nobody claims a place of the event until this transaction ends: claims take the same lock shared.
SELECT pg_advisory_xact_lock(7202, (SELECT number FROM event WHERE id = $1)::int);

-- name: owner_of_event
-- Whose an event is: a venue and its organisation, or neither; and its sales state.
SELECT e.state, e.venue_id, v.organisation_id FROM event e LEFT JOIN venue v ON v.id = e.venue_id WHERE e.id = $1;

-- name: put_event
-- From now on an event is that venue's, or the house's own; the trigger refuses it once something was sold.
UPDATE event SET venue_id = $2 WHERE id = $1;
