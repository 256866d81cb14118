-- name: block_seats
-- Takes seats off sale, or gives blocked ones another kind and reason; seats that are claimed or sold are left out.
-- Returns what those that were blocked already were before.
WITH before AS (
    SELECT seat_id, kind, reason, staff_id FROM seat_block WHERE event_id = $1 AND seat_id = ANY ($2::text[])),
done AS (
    INSERT INTO seat_block (event_id, seat_id, kind, reason, staff_id)
    SELECT $1, wanted.seat_id, $3, $4, $5
    FROM unnest($2::text[]) AS wanted (seat_id)
    WHERE NOT EXISTS (
        SELECT FROM booking_seat AS claim
        WHERE claim.event_id = $1 AND claim.seat_id = wanted.seat_id AND claim.state IN ('claimed', 'sold'))
    ORDER BY wanted.seat_id
    ON CONFLICT (event_id, seat_id)
        DO UPDATE SET kind = excluded.kind, reason = excluded.reason, staff_id = excluded.staff_id
    RETURNING event_id, seat_id, kind, staff_id, reason),
told AS (
    INSERT INTO status_change (event_id, act, seat_id, status, staff_id, reason)
    SELECT event_id, 'block', seat_id, kind, staff_id, reason FROM done
    RETURNING seat_id)
SELECT told.seat_id, before.kind, before.reason, before.staff_id FROM told LEFT JOIN before USING (seat_id)

-- name: unblock_seats
-- Puts seats back on sale, and on record where they were blocked.
WITH done AS (
    DELETE FROM seat_block WHERE event_id = $1 AND seat_id = ANY ($2::text[]) RETURNING event_id, seat_id)
INSERT INTO status_change (event_id, act, seat_id, status, staff_id, reason)
SELECT event_id, 'unblock', seat_id, 'available', $3, $4 FROM done

-- name: withdraw_seats
-- Takes blocks back that the inventory refused: the seats stay what they are. Those that were blocked before ($5 to $8:
-- seat, kind, reason, who) are so again, but for what was claimed meanwhile: a sale has used the block up.
WITH kept AS (
    SELECT old.* FROM unnest($5::text[], $6::text[], $7::text[], $8::text[]) AS old (seat_id, kind, reason, staff_id)
    WHERE NOT EXISTS (
        SELECT FROM booking_seat AS claim
        WHERE claim.event_id = $1 AND claim.seat_id = old.seat_id AND claim.state IN ('claimed', 'sold'))),
again AS (
    UPDATE seat_block SET kind = kept.kind, reason = kept.reason, staff_id = kept.staff_id
    FROM kept WHERE seat_block.event_id = $1 AND seat_block.seat_id = kept.seat_id
    RETURNING seat_block.event_id, seat_block.seat_id),
ended AS (
    DELETE FROM seat_block
    WHERE event_id = $1 AND seat_id = ANY ($2::text[]) AND seat_id NOT IN (SELECT seat_id FROM kept)
    RETURNING event_id, seat_id),
done AS (SELECT * FROM again UNION ALL SELECT * FROM ended)
INSERT INTO status_change (event_id, act, seat_id, staff_id, reason)
SELECT event_id, 'withdraw', seat_id, $3, $4 FROM done

-- name: wait_out_claims
-- Nobody claims anything of the event until this transaction ends: claims take the same lock shared, before all others.
SELECT pg_advisory_xact_lock(7202, (SELECT number FROM event WHERE id = $1)::int);

-- name: block_area
-- Takes places of an area off sale, beside those that already are; returns nothing beyond the area's capacity.
WITH done AS (
    INSERT INTO area_block (event_id, area_id, kind, quantity, reason, staff_id)
    SELECT $1, $2, $3, $4::integer, $5, $6
    FROM event_area AS area
    WHERE area.event_id = $1 AND area.area_id = $2
        AND $4 + (SELECT coalesce(sum(other.quantity), 0) FROM area_block AS other
                  WHERE other.event_id = $1 AND other.area_id = $2) <= area.capacity
    ON CONFLICT (event_id, area_id, kind)
        DO UPDATE SET quantity = area_block.quantity + excluded.quantity, reason = excluded.reason,
            staff_id = excluded.staff_id
    RETURNING event_id, area_id, kind, staff_id, reason)
INSERT INTO status_change (event_id, act, area_id, quantity, status, staff_id, reason)
SELECT event_id, 'block', area_id, $4::integer, kind, staff_id, reason FROM done
RETURNING quantity

-- name: count_unblocked
-- How many places of an area no block of any kind takes off sale.
SELECT area.capacity - coalesce(sum(block.quantity), 0)::integer
FROM event_area AS area
LEFT JOIN area_block AS block ON block.event_id = area.event_id AND block.area_id = area.area_id
WHERE area.event_id = $1 AND area.area_id = $2
GROUP BY area.capacity

-- name: count_off_sale
-- How many places of these areas are off sale in all, by area; those without any are left out.
SELECT area_id, sum(quantity)::integer AS places
FROM area_block
WHERE event_id = $1 AND area_id = ANY ($2::text[])
GROUP BY area_id

-- name: find_area_request
-- What a request did to an area, where it was counted.
SELECT kind, change FROM area_block_request WHERE event_id = $1 AND request = $2 AND area_id = $3

-- name: note_area_request
-- Notes that a request was counted, so that its repetition is not.
INSERT INTO area_block_request (event_id, request, area_id, kind, change) VALUES ($1, $2, $3, $4, $5)

-- name: drop_area_requests
-- Forgets an event's requests that are older than keys live.
DELETE FROM area_block_request WHERE event_id = $1 AND created < now() - make_interval(hours => $2)

-- name: withdraw_area_request
-- Forgets a request that the inventory refused.
DELETE FROM area_block_request WHERE event_id = $1 AND request = $2 AND area_id = $3

-- name: count_blocked
-- How many places of an area a block of this kind takes off sale.
SELECT quantity FROM area_block WHERE event_id = $1 AND area_id = $2 AND kind = $3

-- name: lessen_area_block
-- Puts places of an area back on sale, leaving some blocked; returns nothing where not more than these are blocked.
UPDATE area_block SET quantity = quantity - $4::integer
WHERE event_id = $1 AND area_id = $2 AND kind = $3 AND quantity > $4
RETURNING quantity

-- name: end_area_block
-- Puts all blocked places of an area and kind back on sale; returns nothing where another number is blocked.
DELETE FROM area_block WHERE event_id = $1 AND area_id = $2 AND kind = $3 AND quantity = $4::integer
RETURNING quantity

-- name: record_area_unblock
-- Puts on record that places of an area were put back on sale, or that their block was withdrawn as refused.
INSERT INTO status_change (event_id, act, area_id, quantity, status, staff_id, reason)
VALUES ($1, $2::text, $3, $4, CASE $2::text WHEN 'unblock' THEN 'available' END, $5, $6)

-- name: load_area_blocks
-- How many places of these areas are off sale in all, and how many of those the house keeps back.
SELECT area_id, sum(quantity)::integer AS off_sale,
       coalesce(sum(quantity) FILTER (WHERE kind = 'house'), 0)::integer AS house
FROM area_block
WHERE event_id = $1 AND area_id = ANY ($2::text[])
GROUP BY area_id

-- name: use_up_area_blocks
-- Places that staff took over a house hold are no longer kept by it, and are on record as unblocked for whoever has them;
-- kills are never touched.
WITH lent AS (SELECT * FROM unnest($2::text[], $3::integer[]) AS l (area_id, quantity)),
fewer AS (
    UPDATE area_block SET quantity = area_block.quantity - lent.quantity
    FROM lent
    WHERE area_block.event_id = $1 AND area_block.area_id = lent.area_id AND area_block.kind = 'house'
        AND area_block.quantity > lent.quantity),
ended AS (
    DELETE FROM area_block USING lent
    WHERE area_block.event_id = $1 AND area_block.area_id = lent.area_id AND area_block.kind = 'house'
        AND area_block.quantity <= lent.quantity)
INSERT INTO status_change (event_id, act, area_id, quantity, status, hold_id, holder, booking_id, staff_id, reason)
SELECT $1, 'unblock', area_id, quantity, $4::text, $5, $6, $7, $8, $9 FROM lent ORDER BY area_id
