-- name: load_channels
-- An event's channels by number.
SELECT name, number, opens_at, opened_at, told_at FROM event_channel WHERE event_id = $1 ORDER BY number;

-- name: add_channel
-- Makes a channel under the next number; the constraint channel_number_fits refuses one too many.
INSERT INTO event_channel (event_id, name, number, staff_id, reason)
SELECT $1, $2, coalesce(max(number), 0) + 1, $3, $4 FROM event_channel WHERE event_id = $1;

-- name: plan_channel
-- What is given to a channel is its own until that time, or until staff open it: it begins anew where it had opened.
UPDATE event_channel SET opens_at = $3, opened_at = NULL, told_at = NULL, staff_id = $4, reason = $5
WHERE event_id = $1 AND name = $2;

-- name: raise_revision
-- The event's channels are others now: every script is told, by the stamp.
UPDATE event SET revision = revision + 1 WHERE id = $1;

-- name: assign_seats
-- Gives seats to a channel (NULL: to all) and tells what each was; claimed and sold seats of another are left out.
WITH wanted AS (
    SELECT w.seat_id, c.channel AS was,
           EXISTS (SELECT FROM booking_seat AS claim
                   WHERE claim.event_id = $1 AND claim.seat_id = w.seat_id AND claim.state IN ('claimed', 'sold'))
               AS taken
    FROM unnest($2::text[]) AS w (seat_id)
    LEFT JOIN seat_channel AS c ON c.event_id = $1 AND c.seat_id = w.seat_id),
changed AS (SELECT seat_id FROM wanted WHERE NOT taken AND was IS DISTINCT FROM $3::smallint),
put AS (
    INSERT INTO seat_channel (event_id, seat_id, channel)
    SELECT $1, seat_id, $3::smallint FROM changed WHERE $3::smallint IS NOT NULL ORDER BY seat_id
    ON CONFLICT (event_id, seat_id) DO UPDATE SET channel = excluded.channel),
gone AS (
    DELETE FROM seat_channel AS c USING changed
    WHERE $3::smallint IS NULL AND c.event_id = $1 AND c.seat_id = changed.seat_id),
logged AS (
    INSERT INTO status_change (event_id, act, seat_id, channel, staff_id, reason)
    SELECT $1, 'assign', seat_id, $4, $5, $6 FROM changed ORDER BY seat_id)
SELECT seat_id, was FROM wanted WHERE NOT taken OR was IS NOT DISTINCT FROM $3::smallint;

-- name: give_back_seats
-- Takes back what the inventory refused: each seat belongs to what it did before.
WITH back AS (SELECT seat_id, was FROM unnest($2::text[], $3::smallint[]) AS b (seat_id, was)),
gone AS (
    DELETE FROM seat_channel AS c USING back WHERE back.was IS NULL AND c.event_id = $1 AND c.seat_id = back.seat_id),
put AS (
    INSERT INTO seat_channel (event_id, seat_id, channel)
    SELECT $1, seat_id, was FROM back WHERE was IS NOT NULL ORDER BY seat_id
    ON CONFLICT (event_id, seat_id) DO UPDATE SET channel = excluded.channel)
INSERT INTO status_change (event_id, act, seat_id, channel, staff_id, reason)
SELECT $1, 'withdraw', seat_id, $4, $5, $6 FROM back ORDER BY seat_id;

-- name: other_seats
-- The seats of these that belong to another channel than was just applied, with that (NULL: to all).
SELECT w.seat_id, c.channel, ch.name
FROM unnest($2::text[], $3::smallint[]) AS w (seat_id, applied)
LEFT JOIN seat_channel AS c ON c.event_id = $1 AND c.seat_id = w.seat_id
LEFT JOIN event_channel AS ch ON ch.event_id = $1 AND ch.number = c.channel
WHERE c.channel IS DISTINCT FROM w.applied;

-- name: load_places
-- The places that a channel has of each area.
SELECT area_id, places FROM area_channel WHERE event_id = $1 AND channel = $2;

-- name: put_places
-- Sets how many places of an area a channel has.
INSERT INTO area_channel (event_id, area_id, channel, places) VALUES ($1, $2, $3, $4)
ON CONFLICT (event_id, area_id, channel) DO UPDATE SET places = excluded.places;

-- name: drop_places
-- A channel has no places of an area of its own any more.
DELETE FROM area_channel WHERE event_id = $1 AND area_id = $2 AND channel = $3;

-- name: record_places
-- Puts on record how many places of an area a channel has, or that the inventory refused so many.
INSERT INTO status_change (event_id, act, area_id, quantity, channel, staff_id, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: open_channel
-- What a channel has belongs to all from now on; returns nothing where it does already.
WITH opened AS (
    UPDATE event_channel SET opened_at = date_trunc('milliseconds', clock_timestamp()), told_at = NULL
    WHERE event_id = $1 AND name = $2 AND opened_at IS NULL
    RETURNING number, name, opened_at),
seats AS (
    DELETE FROM seat_channel AS c USING opened WHERE c.event_id = $1 AND c.channel = opened.number
    RETURNING c.seat_id),
areas AS (
    DELETE FROM area_channel AS c USING opened WHERE c.event_id = $1 AND c.channel = opened.number
    RETURNING c.area_id, c.places),
logged AS (
    INSERT INTO status_change (event_id, act, seat_id, area_id, quantity, channel, staff_id, reason)
    SELECT $1, 'open', gone.seat_id, gone.area_id, gone.places, $2, $3, $4
    FROM (SELECT seat_id, NULL AS area_id, NULL::integer AS places FROM seats
          UNION ALL SELECT NULL, area_id, places FROM areas) AS gone)
SELECT opened_at FROM opened;

-- name: load_opening
-- When a channel was opened.
SELECT opened_at FROM event_channel WHERE event_id = $1 AND name = $2;

-- name: finish_opening
-- The inventory has all of it.
UPDATE event_channel SET told_at = now() WHERE event_id = $1 AND name = $2 AND opened_at = $3;

-- name: openings_due
-- Channels whose time has come, and those that were opened and of which the inventory does not know all.
SELECT event_id, name, staff_id, reason FROM event_channel
WHERE opens_at <= now() AND opened_at IS NULL
   OR opened_at < now() - make_interval(secs => $1) AND told_at IS NULL
ORDER BY opens_at, event_id, number LIMIT 100;

-- name: sold_places
-- Places of areas that were sold, by channel; claimed ones are still held.
SELECT a.area_id, b.channel, sum(a.quantity)::int AS sold
FROM booking_area AS a JOIN booking AS b ON b.id = a.booking_id
WHERE a.event_id = $1 AND a.state = 'sold'
GROUP BY a.area_id, b.channel;
