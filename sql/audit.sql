-- name: set_acting
-- Says who acts in this transaction, and from where; the triggers and defaults of the trail read it.
SELECT set_config('lml.actor_kind', $1, true), set_config('lml.actor_id', $2, true), set_config('lml.origin', $3, true);

-- name: write_record
-- Puts on record what has happened outside PostgreSQL.
INSERT INTO audit_record (event_id, action, subject_kind, subject_id, detail) VALUES ($1, $2, $3, $4, $5::jsonb);

-- name: try_lock_chains
-- One sequencer at a time, also where two workers think that they lead.
SELECT pg_try_advisory_xact_lock(7213, 0);

-- name: look_at_logs
-- How far each log goes and how far it is chained; transactions below xmin have ended, none is at xmax yet.
SELECT latest.log, coalesce(latest.number, 0) AS latest, coalesce(f.number, 0) AS floor, f.next_number, f.next_xid,
       f.next_at < clock_timestamp() - make_interval(secs => $1) AS ripe,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax
FROM (VALUES ('act', (SELECT max(number) FROM audit_record)),
             ('booking', (SELECT max(number) FROM booking_history)),
             ('seat', (SELECT max(number) FROM status_change))) AS latest (log, number)
LEFT JOIN audit_floor AS f ON f.log = latest.log;

-- name: unchained
-- Records above the floors that no link names yet, whatever order they committed in.
SELECT * FROM (
    (SELECT 'act' AS log, number, at FROM audit_record AS r
     WHERE number > $1 AND NOT EXISTS (SELECT FROM audit_link WHERE log = 'act' AND audit_link.number = r.number)
     ORDER BY number LIMIT $4)
    UNION ALL
    (SELECT 'booking', number, at FROM booking_history AS r
     WHERE number > $2 AND NOT EXISTS (SELECT FROM audit_link WHERE log = 'booking' AND audit_link.number = r.number)
     ORDER BY number LIMIT $4)
    UNION ALL
    (SELECT 'seat', number, at FROM status_change AS r
     WHERE number > $3 AND NOT EXISTS (SELECT FROM audit_link WHERE log = 'seat' AND audit_link.number = r.number)
     ORDER BY number LIMIT $4)) AS found
ORDER BY at, log, number;

-- name: read_acts
-- Records as they are hashed: jsonb's own text, NULLs left out, so that a column to come changes no record of today.
SELECT number, coalesce(event_id, '') AS chain, jsonb_strip_nulls(jsonb_build_object(
    'log', 'act', 'number', number, 'event', event_id, 'at_us', (extract(epoch FROM at) * 1000000)::bigint,
    'actor', actor_kind, 'actor_id', actor_id, 'action', action, 'subject', subject_kind, 'subject_id', subject_id,
    'reason', reason, 'origin', origin, 'worker', worker, 'detail', detail))::text AS body
FROM audit_record WHERE number = ANY ($1::bigint[]);

-- name: read_moves
-- The same of the moves of bookings.
SELECT number, event_id AS chain, jsonb_strip_nulls(jsonb_build_object(
    'log', 'booking', 'number', number, 'event', event_id, 'at_us', (extract(epoch FROM at) * 1000000)::bigint,
    'actor', actor_kind, 'actor_id', actor_id, 'booking', booking_id, 'from', from_state, 'to', to_state,
    'reason', reason, 'origin', origin, 'worker', worker))::text AS body
FROM booking_history WHERE number = ANY ($1::bigint[]);

-- name: read_seat_changes
-- The same of seats and places.
SELECT number, event_id AS chain, jsonb_strip_nulls(jsonb_build_object(
    'log', 'seat', 'number', number, 'event', event_id, 'at_us', (extract(epoch FROM at) * 1000000)::bigint,
    'act', act, 'seat', seat_id, 'area', area_id, 'quantity', quantity, 'status', status, 'hold', hold_id,
    'holder', holder, 'booking', booking_id, 'staff', staff_id, 'channel', channel,
    'reason', reason, 'origin', origin, 'worker', worker))::text AS body
FROM status_change WHERE number = ANY ($1::bigint[]);

-- name: chain_heads
-- The last link of each of these chains that has one.
SELECT wanted.chain, head.seq, head.hash FROM unnest($1::text[]) AS wanted (chain)
CROSS JOIN LATERAL (
    SELECT seq, hash FROM audit_link WHERE audit_link.chain = wanted.chain ORDER BY seq DESC LIMIT 1) AS head;

-- name: add_links
-- Chains records.
INSERT INTO audit_link (chain, seq, log, number, hash)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bytea[]);

-- name: set_floor
-- Keeps how far a log is chained, and what is to be its floor next.
INSERT INTO audit_floor (log, number, next_number, next_xid, next_at) VALUES ($1, $2, $3, $4, clock_timestamp())
ON CONFLICT (log) DO UPDATE SET number = excluded.number, next_number = excluded.next_number,
    next_xid = excluded.next_xid, next_at = excluded.next_at;

-- name: list_chains
-- Every chain that has a link.
WITH RECURSIVE found AS (
    (SELECT chain FROM audit_link ORDER BY chain LIMIT 1)
    UNION ALL
    SELECT (SELECT chain FROM audit_link WHERE chain > found.chain ORDER BY chain LIMIT 1)
    FROM found WHERE found.chain IS NOT NULL)
SELECT chain FROM found WHERE chain IS NOT NULL;

-- name: read_links
-- A chain's links after one of them, in order.
SELECT seq, log, number, hash FROM audit_link WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- name: unlinked
-- Records of a part of each log that no link names, and how far their log is chained without a gap.
SELECT r.log, r.number, r.chain, coalesce(f.number, 0) AS floor FROM (
    SELECT 'act' AS log, number, coalesce(event_id, '') AS chain FROM audit_record WHERE number > $1 AND number <= $2
    UNION ALL SELECT 'booking', number, event_id FROM booking_history WHERE number > $1 AND number <= $2
    UNION ALL SELECT 'seat', number, event_id FROM status_change WHERE number > $1 AND number <= $2) AS r
LEFT JOIN audit_floor AS f ON f.log = r.log
WHERE NOT EXISTS (SELECT FROM audit_link AS l WHERE l.log = r.log AND l.number = r.number)
ORDER BY r.log, r.number;

-- name: last_anchor
-- The latest anchor that is on record.
SELECT number, hash, links, at < clock_timestamp() - make_interval(secs => $1) AS due
FROM audit_anchor ORDER BY number DESC LIMIT 1;

-- name: note_anchor
-- An anchor is in the object store.
INSERT INTO audit_anchor (number, hash, links) VALUES ($1, $2, $3) ON CONFLICT (number) DO NOTHING;

-- name: list_anchors
-- The latest anchors on record, the newest first.
SELECT number, hash FROM audit_anchor ORDER BY number DESC LIMIT $1;

-- name: is_event
-- Whether there is such an event.
SELECT EXISTS (SELECT FROM event WHERE id = $1);

-- name: bounds_of_time
-- The links of a chain that were made from a time on, and up to some seconds after another: records of between are there.
SELECT coalesce(min(seq), 1) AS first, coalesce(max(seq), 0) AS last FROM audit_link
WHERE chain = $1 AND at >= coalesce($2, '-infinity'::timestamptz)
  AND at <= coalesce($3::timestamptz + make_interval(secs => $4), 'infinity'::timestamptz);

-- name: links_between
-- Some of a chain's links, in order.
SELECT seq, log, number, hash FROM audit_link WHERE chain = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4;
