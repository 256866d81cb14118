-- name: take_turn
-- The next time at which a call may be sent that counts in these buckets, of so many calls a second each, and whether it
-- was taken: nothing is, where that time is further away than the patience. A bucket holds a tenth of a second's calls,
-- and is refilled so that no second has more than it may. Where buyers wait, background work has a fifth of each bucket,
-- and waits for its next part of it.
WITH asked AS (SELECT * FROM unnest($1::text[], $2::float8[]) AS a (name, most)),
-- In the order of their names: two calls never wait for one another in a ring.
locked AS MATERIALIZED (SELECT * FROM stripe_pace WHERE name IN (SELECT name FROM asked) ORDER BY name FOR UPDATE),
-- After the lock, for waiting for it takes time; and it is this clock that all go by.
clock AS MATERIALIZED (SELECT clock_timestamp() AS now, count(*) AS known FROM locked),
bucket AS (
    SELECT l.*, c.now, greatest(0.1, a.most * least(1, l.share + extract(epoch FROM c.now - l.slowed_at) * $5)) AS pace
    FROM locked l JOIN asked a USING (name) CROSS JOIN clock c),
-- In whole microseconds, rounded up: what is lost to rounding would be a call too many in the end.
spaced AS (SELECT *, make_interval(secs => ceil(1000000 / (pace - floor(pace / 10))) / 1000000) AS gap FROM bucket),
shaped AS (SELECT *, next_at - gap * floor(pace / 10) AS free_at FROM spaced),
slot AS (
    SELECT c.now, c.known, greatest(c.now, max(free_at)) AS at,
           CASE WHEN $4 THEN max(background_at) FILTER (WHERE free_at > s.now AND background_at > s.now) END AS held
    FROM clock c LEFT JOIN shaped s ON true GROUP BY c.now, c.known),
taken AS (
    UPDATE stripe_pace p SET next_at = greatest(s.next_at, slot.at) + s.gap,
                             background_at = CASE WHEN $4 AND s.free_at > s.now
                                                  THEN greatest(s.background_at, s.now) + s.gap * 5
                                                  ELSE s.background_at END
    FROM shaped s, slot
    WHERE p.name = s.name AND slot.known = cardinality($1::text[]) AND slot.held IS NULL
      AND slot.at <= slot.now + make_interval(secs => $3)
    RETURNING p.name)
SELECT known = cardinality($1::text[]) AS known, EXISTS (SELECT FROM taken) AS taken,
       extract(epoch FROM coalesce(held, at, now) - now)::float8 AS wait, coalesce(held, at, now) AS at
FROM slot;

-- name: make_buckets
-- Buckets that are not there: at the first call of their kind, and after PostgreSQL was killed.
INSERT INTO stripe_pace (name) SELECT unnest($1::text[]) ON CONFLICT (name) DO NOTHING;

-- name: slow_pace
-- Stripe says that calls come too fast: half as many from now on, and more again as time passes. What was sent before
-- that is not told again.
UPDATE stripe_pace SET share = greatest($2, least(1, share + extract(epoch FROM clock_timestamp() - slowed_at) * $3) / 2),
                       slowed_at = clock_timestamp()
WHERE name = $1 AND (share = 1 OR slowed_at < clock_timestamp() - interval '1 second');

-- name: payment_queue
-- The bookings whose payment is still to be made, in order; and what part of Stripe's pace there is now.
SELECT ARRAY(SELECT booking_id FROM outbox WHERE done IS NULL AND act = 'create_intent' ORDER BY id) AS bookings,
       coalesce((SELECT min(least(1, share + extract(epoch FROM clock_timestamp() - slowed_at) * $2))
                 FROM stripe_pace WHERE name = ANY ($1::text[])), 1)::float8 AS share;
