-- name: plan_evidence
-- What a bank is to be told of a dispute; nothing where that was planned.
INSERT INTO dispute_evidence (key, dispute_id, booking_id, round) VALUES ($1, $2, $3, $4)
ON CONFLICT (dispute_id, round) DO NOTHING
RETURNING key;

-- name: write_submission
-- When: after the event, for who was let in says more than all else; but in good time, and at once where it is over.
INSERT INTO outbox (booking_id, event_id, act, key, due)
SELECT b.id, b.event_id, 'submit_evidence', $2,
       greatest(now(), least(e.starts_at + make_interval(secs => $4),
                             coalesce($3::timestamptz - make_interval(secs => $5), now())))
FROM booking b JOIN event e ON e.id = b.event_id WHERE b.id = $1
ON CONFLICT (key) DO NOTHING;

-- name: load_evidence
-- What a row of the outbox is to submit.
SELECT * FROM dispute_evidence WHERE key = $1;

-- name: evidence_of_dispute
-- What was planned to be told of a dispute, the latest round first, and when it is due.
SELECT v.*, o.due, o.stuck, o.fault AS refusal
FROM dispute_evidence v LEFT JOIN outbox o ON o.key = v.key AND o.done IS NULL
WHERE v.dispute_id = $1 ORDER BY v.created DESC, v.round;

-- name: keep_body
-- What it says, from now on: the same in all tries.
UPDATE dispute_evidence SET body = $2::jsonb, assembled = clock_timestamp() WHERE key = $1 AND body IS NULL;

-- name: end_evidence
-- The bank has it, or hears none any more.
UPDATE dispute_evidence SET state = $2, fault = $3, ended = clock_timestamp() WHERE key = $1 AND state = 'planned';

-- name: hurry_submission
-- It is submitted now; nothing where it was, or nothing is planned.
UPDATE outbox SET due = now(), stuck = NULL
WHERE done IS NULL AND key IN (SELECT key FROM dispute_evidence WHERE dispute_id = $1 AND state = 'planned')
RETURNING key;

-- name: load_dispute
-- One dispute of a booking.
SELECT * FROM dispute WHERE id = $1 AND booking_id = $2;

-- name: list_disputes
-- A page of all disputes, the newest first, of one state or of all; with a member of staff those of their organisations.
SELECT d.*, b.currency, b.event_id FROM dispute d JOIN booking b ON b.id = d.booking_id
WHERE ($1::text IS NULL OR d.state = $1) AND ($2::timestamptz IS NULL OR (d.opened, d.id) < ($2, $3::text))
  AND ($4::text IS NULL OR EXISTS (
      SELECT FROM event e JOIN venue v ON v.id = e.venue_id JOIN organisation_member m USING (organisation_id)
      WHERE e.id = b.event_id AND m.member_id = $4))
ORDER BY d.opened DESC, d.id DESC
LIMIT $5;

-- name: fees_of_disputes
-- What disputes cost, by currency.
SELECT dispute_id, currency, sum(amount)::bigint AS amount FROM dispute_fee
WHERE dispute_id = ANY ($1::text[]) GROUP BY dispute_id, currency ORDER BY dispute_id, currency;

-- name: load_case
-- What a disputed booking is of.
SELECT b.id, b.state, b.buyer_name, b.buyer_email, b.amount, b.currency, b.created, b.origin, b.event_id,
       e.name AS event, e.venue, e.starts_at, e.max_seats, p.intent_id
FROM booking b JOIN event e ON e.id = b.event_id LEFT JOIN payment p ON p.booking_id = b.id
WHERE b.id = $1;

-- name: case_lines
-- What was bought.
SELECT line, seat_id, area_id, type, amount, fee FROM booking_line WHERE booking_id = $1 ORDER BY line;

-- name: case_moves
-- The booking's history, each record with its place in the audit trail, where that is chained.
SELECT h.at, h.from_state, h.to_state, h.actor_kind, h.origin, l.seq, encode(l.hash, 'hex') AS hash
FROM booking_history h LEFT JOIN audit_link l ON l.log = 'booking' AND l.number = h.number
WHERE h.booking_id = $1 ORDER BY h.number;

-- name: case_mails
-- What the buyer was sent.
SELECT kind, created, sent FROM mail WHERE booking_id = $1 ORDER BY created, id;

-- name: case_tickets
-- The tickets, void ones too, and who was let in on them.
SELECT line, state, issued, staff_id IS NOT NULL AS reprinted, used_at, used_gate FROM ticket
WHERE booking_id = $1 ORDER BY issued, line, id;

-- name: case_refunds
-- What was given back.
SELECT amount, reason, state, created FROM refund WHERE booking_id = $1 ORDER BY created, id;

-- name: case_disputes
-- What banks took, and asked.
SELECT id, amount, reason, state, opened FROM dispute WHERE booking_id = $1 ORDER BY opened, id;
