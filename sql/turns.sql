-- name: take_turn
-- Waits until nobody else changes the event's blocks and allotments; a session that says nothing for so long loses it.
SELECT set_config('idle_session_timeout', $2, false), pg_advisory_lock(7204, number::int) FROM event WHERE id = $1;

-- name: end_turn
-- The next one may.
SELECT pg_advisory_unlock(7204, number::int) FROM event WHERE id = $1;
