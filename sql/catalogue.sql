-- name: create_event
-- Writes a new event as a draft; returns nothing where the id is taken.
INSERT INTO event (
    id, group_id, name, venue, starts_at, on_sale_at, currency, layout_id, layout_version, layout_hash, seat_count,
    max_seats, hold_seconds, extensions, lifetime_seconds, orphan_rule, expired_holds, cooldown_seconds,
    rehold_seconds, release_jitter_seconds, address_holds, address_seats, tick_ms)
VALUES (
    $1, $2, $3, $4, $5, coalesce($6, least(date_trunc('second', now()), $5)), $7, $8, $9, $10, $11, $12, $13, $14, $15,
    $16, $17, $18, $19, $20, $21, $22, $23)
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: write_prices
-- Writes an event's price list in its order; the lists are columns.
INSERT INTO event_price (event_id, category, type, label, amount, fee, tax_rate, position)
SELECT $1, price.category, price.type, price.label, price.amount, price.fee, price.tax_rate::numeric, price.position
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[])
    WITH ORDINALITY AS price (category, type, label, amount, fee, tax_rate, position)

-- name: clear_prices
-- Takes an event's price list away, so that another can be written in the same transaction.
DELETE FROM event_price WHERE event_id = $1

-- name: write_areas
-- Writes an event's standing areas as its layout has them; the lists are columns.
INSERT INTO event_area (event_id, area_id, name, category, capacity, position)
SELECT $1, area.area_id, area.name, area.category, area.capacity, area.position
FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[])
    WITH ORDINALITY AS area (area_id, name, category, capacity, position)

-- name: lock_event
-- Makes changes of one event wait for one another; returns nothing where there is no such event.
SELECT id FROM event WHERE id = $1 FOR NO KEY UPDATE

-- name: load_event
-- One event with its prices and areas, each as a JSON list in their order.
SELECT event.id, event.number, event.group_id, event.name, event.venue, event.starts_at, event.on_sale_at,
    event.state, event.currency, event.layout_id, event.layout_version, event.layout_hash, event.seat_count,
    event.max_seats, event.hold_seconds, event.extensions, event.lifetime_seconds, event.orphan_rule,
    event.expired_holds, event.cooldown_seconds, event.rehold_seconds, event.release_jitter_seconds,
    event.address_holds, event.address_seats, event.tick_ms,
    event.revision, event.prices_version, event.epoch, event.redis_run_id,
    (SELECT coalesce(json_agg(json_build_object(
            'category', price.category, 'type', price.type, 'label', price.label, 'amount', price.amount,
            'fee', price.fee, 'tax_rate', price.tax_rate::text) ORDER BY price.position), '[]')
        FROM event_price AS price WHERE price.event_id = event.id) AS prices,
    (SELECT coalesce(json_agg(json_build_object(
            'area_id', area.area_id, 'name', area.name, 'category', area.category, 'capacity', area.capacity)
            ORDER BY area.position), '[]')
        FROM event_area AS area WHERE area.event_id = event.id) AS areas
FROM event
WHERE event.id = $1

-- name: list_events
-- A page of events by start, after the (start, id) given or from the beginning; drafts only where asked
-- for, and with a member of staff only those of their organisations.
SELECT event.id, event.number, event.group_id, event.name, event.venue, event.starts_at, event.on_sale_at,
    event.state, event.currency, event.layout_id, event.layout_version, event.layout_hash, event.seat_count,
    event.max_seats, event.hold_seconds, event.extensions, event.lifetime_seconds, event.orphan_rule,
    event.expired_holds, event.cooldown_seconds, event.rehold_seconds, event.release_jitter_seconds,
    event.address_holds, event.address_seats, event.tick_ms,
    event.revision, event.prices_version, event.epoch, event.redis_run_id,
    (SELECT coalesce(json_agg(json_build_object(
            'category', price.category, 'type', price.type, 'label', price.label, 'amount', price.amount,
            'fee', price.fee, 'tax_rate', price.tax_rate::text) ORDER BY price.position), '[]')
        FROM event_price AS price WHERE price.event_id = event.id) AS prices,
    (SELECT coalesce(json_agg(json_build_object(
            'area_id', area.area_id, 'name', area.name, 'category', area.category, 'capacity', area.capacity)
            ORDER BY area.position), '[]')
        FROM event_area AS area WHERE area.event_id = event.id) AS areas
FROM event
WHERE (event.state <> 'draft' OR $1 AND ($5::text IS NULL OR EXISTS (
        SELECT FROM venue JOIN organisation_member AS member USING (organisation_id)
        WHERE venue.id = event.venue_id AND member.member_id = $5)))
    AND ($2::timestamptz IS NULL OR (event.starts_at, event.id) > ($2, $3::text))
ORDER BY event.starts_at, event.id
LIMIT $4

-- name: list_group
-- A page of a group's events that are on sale or paused, by start, after the (start, id) given or from the beginning.
SELECT event.id, event.starts_at
FROM event
WHERE event.group_id = $1 AND event.state IN ('open', 'paused')
    AND ($2::timestamptz IS NULL OR (event.starts_at, event.id) > ($2, $3::text))
ORDER BY event.starts_at, event.id
LIMIT $4

-- name: update_event
-- Writes what of an event may change; the stamp's revision and the prices' version rise where told to. Nothing where an
-- organisation would be paid at once, as the event is said to have begun before.
UPDATE event
SET name = $2, venue = $3, starts_at = $4, on_sale_at = $5, max_seats = $6, hold_seconds = $7, extensions = $8,
    lifetime_seconds = $9, orphan_rule = $10, expired_holds = $11, cooldown_seconds = $12, rehold_seconds = $13,
    release_jitter_seconds = $14, address_holds = $15, address_seats = $16,
    revision = revision + $17::boolean::integer, prices_version = prices_version + $18::boolean::integer
WHERE id = $1 AND (venue_id IS NULL OR $4 >= least(starts_at, now()))
RETURNING id

-- name: set_event_state
-- Moves an event to another sales state, under a new revision.
UPDATE event SET state = $2, revision = revision + 1 WHERE id = $1

-- name: announce_event
-- Tells every worker, at commit, that this event was changed.
SELECT pg_notify('event_changed', $1)
