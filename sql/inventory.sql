-- name: load_sale
-- What the inventory must know of an event: its rules, its epoch with the Redis process it lives in, areas, channels.
SELECT e.id, e.number, e.group_id, e.state, e.on_sale_at, e.max_seats, e.hold_seconds, e.extensions,
       e.lifetime_seconds, e.orphan_rule, e.expired_holds, e.cooldown_seconds, e.rehold_seconds,
       e.release_jitter_seconds, e.address_holds, e.address_seats, e.tick_ms, e.revision, e.prices_version, e.epoch, coalesce(e.redis_run_id, '') AS run_id,
       e.layout_id, e.layout_version, e.layout_hash, e.seat_count,
       coalesce((SELECT array_agg(a.area_id ORDER BY a.position) FROM event_area a WHERE a.event_id = e.id), '{}')
           AS area_ids,
       coalesce((SELECT array_agg(a.capacity ORDER BY a.position) FROM event_area a WHERE a.event_id = e.id), '{}')
           AS area_capacities,
       coalesce((SELECT array_agg(c.name ORDER BY c.number) FROM event_channel c WHERE c.event_id = e.id), '{}')
           AS channel_names,
       coalesce((SELECT array_agg(c.number ORDER BY c.number) FROM event_channel c WHERE c.event_id = e.id), '{}')
           AS channel_numbers,
       coalesce((SELECT array_agg(c.opened_at ORDER BY c.number) FROM event_channel c WHERE c.event_id = e.id), '{}')
           AS channels_opened
FROM event e
WHERE e.id = $1;

-- name: event_of_number
-- The event whose short number stands at the head of a hold's id.
SELECT id FROM event WHERE number = $1;

-- name: list_sales_to_sweep
-- Every event that has an inventory, for the sweep and for the check that no change of its rules or prices was missed.
SELECT id, revision, prices_version, epoch, state FROM event WHERE epoch > 0 ORDER BY id;

-- name: list_sales_to_check
-- Every event that has an inventory and whose sale is not over, to be compared with Redis.
SELECT id FROM event WHERE epoch > 0 AND state <> 'closed' ORDER BY id;

-- name: list_unfinished_work
-- The bookings of an event with work that is still to be done: Redis need not know yet what became of them, or whose they
-- are.
SELECT booking_id FROM outbox WHERE event_id = $1 AND done IS NULL
UNION
SELECT b.id FROM hand_over h JOIN booking b ON b.holder = h.to_holder WHERE h.done IS NULL AND b.event_id = $1;

-- name: lock_adopting
-- One adopter at a time: held by the connection until adopt is done or the adopter dies.
SELECT pg_advisory_lock(7201, $1::int);

-- name: lock_event_exclusive
-- Waits out every claiming and selling transaction of the event; they take the same lock shared.
SELECT pg_advisory_xact_lock(7202, $1::int);

-- name: raise_epoch
-- Issues the event's next epoch and says which Redis process it lives in; claims of older epochs are refused from here.
-- The epoch comes after the newest that Redis knows, too: a database that was restored from a backup has lost some.
UPDATE event SET epoch = greatest(epoch, $3) + 1, redis_run_id = $2 WHERE id = $1 RETURNING epoch, revision;

-- name: load_claimed_seats
-- The seats that bookings claim or own, for adopt to lay over what Redis has.
SELECT b.id, b.hold_id, b.holder, b.hold_created, b.lifetime_end, b.channel, s.seat_id, s.type, s.state
FROM booking_seat s JOIN booking b ON b.id = s.booking_id
WHERE s.event_id = $1 AND s.state IN ('claimed', 'sold')
ORDER BY b.created, b.id, s.seat_id;

-- name: load_claimed_areas
-- The area places that bookings claim or own.
SELECT b.id, b.hold_id, b.holder, b.hold_created, b.lifetime_end, b.channel, a.area_id, a.type, a.quantity, a.state
FROM booking_area a JOIN booking b ON b.id = a.booking_id
WHERE a.event_id = $1 AND a.state IN ('claimed', 'sold')
ORDER BY b.created, b.id, a.area_id, a.type;

-- name: load_blocked_seats
-- The seats that staff took off sale.
SELECT seat_id, kind FROM seat_block WHERE event_id = $1;

-- name: load_blocked_areas
-- The area places that staff took off sale.
SELECT area_id, sum(quantity)::int AS quantity FROM area_block WHERE event_id = $1 GROUP BY area_id;

-- name: load_seat_channels
-- The seats that belong to sales channels.
SELECT seat_id, channel FROM seat_channel WHERE event_id = $1;

-- name: load_area_channels
-- The places of areas that belong to sales channels.
SELECT area_id, channel, places FROM area_channel WHERE event_id = $1;

-- name: load_staff_holds
-- The holds of the box office for its customers: not those that became a booking, whose claim says more, and none of a
-- closed sale, which has no holds.
SELECT h.hold_id, h.holder, h.created, h.seat_ids, h.seat_types, h.area_ids, h.area_types, h.area_quantities, h.channel
FROM staff_hold h JOIN event e ON e.id = h.event_id
WHERE h.event_id = $1 AND h.state = 'held' AND e.state <> 'closed'
  AND NOT EXISTS (SELECT FROM booking b WHERE b.hold_id = h.hold_id AND b.buyer_name IS NOT NULL)
ORDER BY h.created, h.hold_id;

-- name: server_time_ms
-- PostgreSQL's clock, against which Redis's is measured.
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- name: try_lead_upkeep
-- The one connection that holds this lock sweeps; it is free again when that worker dies.
SELECT pg_try_advisory_lock(7203);
