-- name: events_of_organisation
-- A page of an organisation's events that begin in a time, by start, after the (start, id) given or from the beginning.
SELECT e.id, e.name, e.starts_at, e.starts_at + make_interval(days => o.hold_back_days) AS due_at,
       e.starts_at + make_interval(days => o.hold_back_days) <= now() AS is_due
FROM organisation o
JOIN venue v ON v.organisation_id = o.id
JOIN event e ON e.venue_id = v.id
WHERE o.id = $1 AND e.starts_at >= coalesce($2, '-infinity'::timestamptz) AND e.starts_at < coalesce($3, 'infinity'::timestamptz)
  AND ($4::timestamptz IS NULL OR (e.starts_at, e.id) > ($4, $5::text))
ORDER BY e.starts_at, e.id
LIMIT $6;

-- name: bookings_of_event
-- Some of an event's bookings that are to be paid out, or were, in the order of their ids.
SELECT booking_id, state FROM transfer WHERE event_id = $1 AND booking_id > $2 ORDER BY booking_id LIMIT $3;

-- name: counter_sales_of_event
-- Some of an event's bookings that were paid for at the counter, in the order of their ids.
SELECT id FROM booking
WHERE event_id = $1 AND tender IN ('cash', 'card_terminal') AND amount > 0 AND id > $2
ORDER BY id LIMIT $3;

-- name: sent_of_events
-- What was sent of events, once or again, what is on its way, and what was kept for what was owed.
SELECT event_id,
       coalesce(sum(sent) FILTER (WHERE state = 'made'), 0)::bigint AS made,
       coalesce(sum(sent) FILTER (WHERE state = 'decided'), 0)::bigint AS decided,
       coalesce(sum(netted), 0)::bigint AS netted
FROM (SELECT event_id, state, sent, netted FROM transfer WHERE event_id = ANY ($1::text[])
      UNION ALL
      SELECT t.event_id, a.state, a.sent, a.netted FROM transfer_again a JOIN transfer t USING (booking_id)
      WHERE t.event_id = ANY ($1::text[])
      UNION ALL
      SELECT t.event_id, 'made', s.amount, 0 FROM surplus_transfer s JOIN transfer t USING (booking_id)
      WHERE t.event_id = ANY ($1::text[]) AND s.state = 'refused') AS out
GROUP BY event_id;

-- name: back_of_events
-- What has come back of it, and what is on its way back.
SELECT t.event_id,
       coalesce(sum(r.amount) FILTER (WHERE r.state = 'made'), 0)::bigint AS made,
       coalesce(sum(r.amount) FILTER (WHERE r.state = 'pending'), 0)::bigint AS pending
FROM transfer t
CROSS JOIN LATERAL (
    SELECT state, sought AS amount FROM transfer_reversal WHERE booking_id = t.booking_id
    UNION ALL
    SELECT 'made', amount FROM surplus_reversal WHERE booking_id = t.booking_id) AS r
WHERE t.event_id = ANY ($1::text[]) GROUP BY t.event_id;

-- name: stuck_of_events
-- What of it Stripe refuses, and nobody asks for any more.
SELECT t.event_id, sum(coalesce(a.sent, t.sent))::bigint AS amount
FROM outbox o JOIN transfer t ON t.booking_id = o.booking_id LEFT JOIN transfer_again a ON a.key = o.key
WHERE o.stuck IS NOT NULL AND o.act IN ('transfer', 'transfer_again') AND t.event_id = ANY ($1::text[])
GROUP BY t.event_id;

-- name: owed_of_events
-- What could not come back, and what of that was kept of later transfers.
SELECT t.event_id, sum(r.amount)::bigint AS amount, sum(r.recovered)::bigint AS recovered
FROM transfer t JOIN receivable r ON r.booking_id = t.booking_id
WHERE t.event_id = ANY ($1::text[]) GROUP BY t.event_id;
