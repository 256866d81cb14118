-- name: begin_hand_over
-- Writes down what is to be handed over, before anything is; this worker does it, unless it dies over it. `due` says
-- whose turn it is: who came later does it again, and it is for them to say that it is done.
INSERT INTO hand_over (from_holder, to_holder, due) VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (from_holder, to_holder) WHERE done IS NULL DO UPDATE SET due = excluded.due
RETURNING id, due

-- name: lease_hand_overs
-- Takes hand-overs that nobody has ended, and tells which have had their time.
UPDATE hand_over SET due = now() + make_interval(secs => $2)
WHERE id IN (
    SELECT id FROM hand_over WHERE done IS NULL AND due <= now() ORDER BY due, id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING id, due, from_holder, to_holder, created < now() - make_interval(secs => $3) AS late

-- name: finish_hand_over
-- It is done, or as much of it as ever will be; unless somebody else is at it by now.
UPDATE hand_over SET done = now() WHERE id = $1 AND due = $2 AND done IS NULL

-- name: drop_old_hand_overs
-- Forgets hand-overs that ended long ago, some at a time. What they moved is in the trail.
DELETE FROM hand_over
WHERE id IN (SELECT id FROM hand_over WHERE done < now() - make_interval(secs => $1) ORDER BY done LIMIT $2)

-- name: keep_open
-- Nobody ends it before this transaction has; nothing where somebody has.
SELECT id FROM hand_over WHERE id = $1 AND done IS NULL FOR SHARE

-- name: lock_events_shared
-- No adopt reads whose these bookings are while they change hands: it has read it before, and is found, or after.
SELECT pg_advisory_xact_lock_shared(7202, number::int)
FROM (SELECT DISTINCT event.number FROM booking JOIN event ON event.id = booking.event_id
      WHERE booking.holder = $1 AND booking.buyer_name IS NOT NULL ORDER BY event.number) AS theirs

-- name: hand_bookings
-- A holder's bookings become the account's, in the order of their ids so that two never wait for one another in a ring.
-- The trigger puts each on record.
UPDATE booking SET holder = $2
WHERE id IN (SELECT id FROM booking WHERE holder = $1 AND buyer_name IS NOT NULL ORDER BY id FOR UPDATE)
RETURNING id

-- name: events_to_look_at
-- The events in whose inventory something of the holder can be; of one that was begun before, too. `booked` where one of
-- the two has bookings.
SELECT id, group_id, booked
FROM (SELECT event.*, id IN (SELECT event_id FROM booking WHERE holder IN ($1, $2)) AS booked FROM event) AS known
WHERE epoch > 0 AND state <> 'draft' AND (starts_at > now() - interval '1 day' OR booked)
ORDER BY id

-- name: bookings_of_event
-- The account's bookings in an event.
SELECT id FROM booking WHERE holder = $1 AND event_id = $2 ORDER BY id
