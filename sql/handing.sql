-- name: begin_hand_over
-- Writes down what is to be handed over, before anything is; this worker does it, unless it dies over it.
INSERT INTO hand_over (from_holder, to_holder, due) VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (from_holder, to_holder) WHERE done IS NULL DO UPDATE SET due = excluded.due
RETURNING id

-- name: lease_hand_overs
-- Takes hand-overs that nobody has ended, and tells which have had their time.
UPDATE hand_over SET due = now() + make_interval(secs => $2)
WHERE id IN (
    SELECT id FROM hand_over WHERE done IS NULL AND due <= now() ORDER BY due, id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING id, from_holder, to_holder, created < now() - make_interval(secs => $3) AS late

-- name: finish_hand_over
-- It is done, or as much of it as ever will be.
UPDATE hand_over SET done = now() WHERE id = $1 AND done IS NULL

-- name: hand_bookings
-- A holder's bookings become the account's, in the order of their ids so that two never wait for one another in a ring.
-- The trigger puts each on record.
UPDATE booking SET holder = $2
WHERE id IN (SELECT id FROM booking WHERE holder = $1 AND buyer_name IS NOT NULL ORDER BY id FOR UPDATE)
RETURNING id

-- name: events_to_look_at
-- The events in whose inventory something of the holder can be; of one that was begun before, too.
SELECT id, group_id FROM event
WHERE epoch > 0 AND state <> 'draft'
  AND (starts_at > now() - interval '1 day' OR id IN (SELECT event_id FROM booking WHERE holder IN ($1, $2)))
ORDER BY id

-- name: bookings_of_event
-- The account's bookings in an event.
SELECT id FROM booking WHERE holder = $1 AND event_id = $2 ORDER BY id
