-- name: layouts_of_events
-- Which layout version each event that is not over was made on, with its hash: what MongoDB is held against.
SELECT id, layout_id, layout_version, layout_hash FROM event WHERE state <> 'closed' ORDER BY id

-- name: occupied_seats
-- The seats of an event that a booking claims or owns, and those that staff hold for somebody.
SELECT seat_id, state FROM booking_seat WHERE event_id = $1 AND state IN ('claimed', 'sold')
UNION ALL
SELECT unnest(seat_ids), 'held' FROM staff_hold WHERE event_id = $1 AND state <> 'ended'

-- name: occupied_areas
-- The places that are taken, blocked or held by staff in each area of an event, and whether bookings were ever of it.
SELECT area.area_id,
       area.taken
       + coalesce((SELECT sum(block.quantity) FROM area_block AS block
                   WHERE block.event_id = area.event_id AND block.area_id = area.area_id), 0)
       + coalesce((SELECT sum(held.quantity)
                   FROM staff_hold AS hold, unnest(hold.area_ids, hold.area_quantities) AS held (area_id, quantity)
                   WHERE hold.event_id = area.event_id AND hold.state <> 'ended' AND held.area_id = area.area_id), 0)
           AS places,
       EXISTS (SELECT FROM booking_area AS booked
               WHERE booked.event_id = area.event_id AND booked.area_id = area.area_id) AS booked
FROM event_area AS area
WHERE area.event_id = $1

-- name: change_layout
-- Sells an event on another layout version; nothing where it is on another than was thought. Where it has an inventory,
-- claims of its epoch are refused from here on, for their seats need not be there: adopt issues the next one.
UPDATE event
SET layout_version = $3, layout_hash = $4, seat_count = $5, epoch = epoch + least(epoch, 1), revision = revision + 1
WHERE id = $1 AND layout_hash = $2
RETURNING id

-- name: drop_areas
-- Takes away the areas that a layout has no more; no booking was ever of them.
DELETE FROM event_area WHERE event_id = $1 AND area_id <> ALL ($2::text[])

-- name: put_areas
-- Writes an event's standing areas as its layout has them now; what is taken stays. The lists are columns.
INSERT INTO event_area (event_id, area_id, name, category, capacity, position)
SELECT $1, area.area_id, area.name, area.category, area.capacity, area.position
FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[])
    WITH ORDINALITY AS area (area_id, name, category, capacity, position)
ON CONFLICT (event_id, area_id) DO UPDATE
SET name = excluded.name, category = excluded.category, capacity = excluded.capacity, position = excluded.position

-- name: steps_of_layouts
-- The hash on record of each version of a layout, or of all layouts, when it first took each step, and whether its draft
-- is on record. A step is on record once more where it was asked for again, also after a later one: the first says what
-- the content is, for it never changes; retiring does so only where there is no other. Of drafts the last one says so.
SELECT subject_id AS layout_id, (detail ->> 'version')::integer AS version,
       coalesce((array_agg(detail ->> 'hash' ORDER BY action = 'layout.retired', number) FILTER (WHERE action IN (
                     'layout.published', 'layout.deployed', 'layout.retired')))[1],
                (array_agg(detail ->> 'hash' ORDER BY number DESC))[1]) AS hash,
       (extract(epoch FROM min(at) FILTER (WHERE action = 'layout.published')) * 1000)::bigint AS published_ms,
       (extract(epoch FROM min(at) FILTER (WHERE action = 'layout.deployed')) * 1000)::bigint AS deployed_ms,
       (extract(epoch FROM min(at) FILTER (WHERE action = 'layout.retired')) * 1000)::bigint AS retired_ms,
       bool_or(action IN ('layout.saved', 'layout.imported', 'layout.begun', 'layout.restored')) AS drafted
FROM audit_record
WHERE action IN ('layout.published', 'layout.deployed', 'layout.retired',
                 'layout.saved', 'layout.imported', 'layout.begun', 'layout.restored')
  AND detail ->> 'hash' IS NOT NULL AND ($1::text IS NULL OR subject_id = $1)
GROUP BY 1, 2

-- name: known_layouts
-- Every layout that an event was made on, or a version's first step was taken with: at most so many. A version that was
-- retired and no more counts if it is from before there was a record, with no draft of its number or a lower one.
WITH first_draft AS (
    SELECT subject_id, min((detail ->> 'version')::integer) AS version
    FROM audit_record
    WHERE action IN ('layout.saved', 'layout.imported', 'layout.begun', 'layout.restored')
      AND detail ->> 'hash' IS NOT NULL
    GROUP BY 1)
(SELECT DISTINCT layout_id, layout_hash FROM event)
UNION ALL
(SELECT DISTINCT ON (subject_id, step.detail ->> 'version') subject_id, step.detail ->> 'hash'
 FROM audit_record AS step LEFT JOIN first_draft USING (subject_id)
 WHERE step.action IN ('layout.published', 'layout.deployed', 'layout.retired') AND step.detail ->> 'hash' IS NOT NULL
   AND (step.action <> 'layout.retired'
        OR first_draft.version IS NULL OR (step.detail ->> 'version')::integer < first_draft.version)
 ORDER BY subject_id, step.detail ->> 'version', step.action = 'layout.retired', step.number)
LIMIT $1

-- name: hashes_of_layout
-- Every content that is on record of a layout: each draft's, and of each version what its first step was taken with.
-- Retiring counts as in known_layouts.
WITH draft AS (
    SELECT (detail ->> 'version')::integer AS version, detail ->> 'hash' AS hash
    FROM audit_record
    WHERE action IN ('layout.saved', 'layout.imported', 'layout.begun', 'layout.restored') AND subject_id = $1)
SELECT hash FROM draft
UNION
(SELECT first.hash
 FROM (SELECT DISTINCT ON (detail ->> 'version') detail ->> 'hash' AS hash
       FROM audit_record
       WHERE action IN ('layout.published', 'layout.deployed', 'layout.retired') AND subject_id = $1
         AND (action <> 'layout.retired'
              OR NOT EXISTS (SELECT FROM draft WHERE draft.version <= (detail ->> 'version')::integer))
       ORDER BY detail ->> 'version', action = 'layout.retired', number) AS first)
