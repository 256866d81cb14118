-- name: add_customer
-- Makes a holder known as a customer of the box office.
INSERT INTO customer (holder, staff_id) VALUES ($1, $2);

-- name: is_customer
-- Tells whether a holder is a customer of the box office.
SELECT EXISTS (SELECT FROM customer WHERE holder = $1);

-- name: hold_to_sell
-- For whom the box office holds it.
SELECT holder, customer FROM staff_hold WHERE hold_id = $1;

-- name: lock_event_shared
-- Keeps adopt out while a staff act is put on record; adopt takes the same lock exclusive.
SELECT pg_advisory_xact_lock_shared(7202, (SELECT number FROM event WHERE id = $1)::int);

-- name: load_epoch
-- The event's epoch, to be compared with the one in which the inventory did the act.
SELECT epoch FROM event WHERE id = $1;

-- name: load_layout
-- The hash of the event's layout, to be compared with the one by which seats were named.
SELECT layout_hash FROM event WHERE id = $1;

-- name: begin_hold
-- Notes what is about to be asked of the inventory; a repetition finds the first one's row, and is noted in it.
INSERT INTO staff_hold (hold_id, event_id, holder, customer, reason, staff_id,
                        seat_ids, seat_types, area_ids, area_types, area_quantities)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (hold_id) DO UPDATE SET asked = greatest(now(), staff_hold.asked + interval '1 microsecond')
WHERE staff_hold.state <> 'ended';

-- name: lock_state
-- How far a hold is: taking, held or ended.
SELECT state FROM staff_hold WHERE hold_id = $1 FOR UPDATE;

-- name: lock_note
-- The same, with the number of its note (when it was last asked for, in microseconds), whether it was asked for before, and
-- the epoch in which it may be taken: of an event without an inventory the first.
SELECT h.state, (extract(epoch FROM h.asked) * 1000000)::bigint AS number, h.asked > h.created AS again,
       greatest(e.epoch, 1) AS epoch
FROM staff_hold h JOIN event e ON e.id = h.event_id
WHERE h.hold_id = $1 FOR UPDATE OF h;

-- name: find_taking
-- Who asked for a hold of which nobody knows whether the inventory has granted it, and why; with its note's number.
SELECT staff_id, reason, (extract(epoch FROM asked) * 1000000)::bigint AS number
FROM staff_hold WHERE hold_id = $1 AND state = 'taking';

-- name: find_number
-- The number of the note of a hold that has not ended.
SELECT (extract(epoch FROM asked) * 1000000)::bigint FROM staff_hold WHERE hold_id = $1 AND state <> 'ended';

-- name: list_taking
-- Holds of which nobody knows whether the inventory has granted them, last asked for so many seconds ago.
SELECT event_id, hold_id, staff_id, reason, (extract(epoch FROM asked) * 1000000)::bigint AS number FROM staff_hold
WHERE state = 'taking' AND asked < now() - make_interval(secs => $1) ORDER BY asked LIMIT $2;

-- name: house_seats
-- Which of these seats the house keeps back.
SELECT seat_id FROM seat_block WHERE event_id = $1 AND seat_id = ANY ($2::text[]) AND kind = 'house';

-- name: keep_hold
-- The inventory has granted it: from here on it is the customer's.
UPDATE staff_hold SET state = 'held', channel = $2 WHERE hold_id = $1;

-- name: drop_refused
-- The inventory has refused it: there never was such a hold. Where it was asked for again since, that one's answer decides.
DELETE FROM staff_hold
WHERE hold_id = $1 AND state = 'taking' AND (extract(epoch FROM asked) * 1000000)::bigint = $2;

-- name: lock_hold
-- One staff hold that has not ended, for a decision about it; with its note's number.
SELECT *, (extract(epoch FROM asked) * 1000000)::bigint AS number
FROM staff_hold WHERE hold_id = $1 AND state <> 'ended' FOR UPDATE;

-- name: became_booking
-- Whether a hold was claimed by a booking, which decides from there on.
SELECT EXISTS (SELECT FROM booking WHERE hold_id = $1 AND buyer_name IS NOT NULL);

-- name: end_hold
-- It was released.
UPDATE staff_hold SET state = 'ended' WHERE hold_id = $1;

-- name: rewrite_hold
-- It was moved: what it names from here on.
UPDATE staff_hold SET seat_ids = $2, seat_types = $3, area_ids = $4, area_types = $5, area_quantities = $6,
                      channel = $7
WHERE hold_id = $1;

-- name: use_up_house_blocks
-- Seats that staff took over a house hold are no longer kept by it; kills are never touched.
DELETE FROM seat_block WHERE event_id = $1 AND seat_id = ANY ($2::text[]) AND kind = 'house';

-- name: write_seat_changes
-- Puts on record what staff did to seats.
INSERT INTO status_change (event_id, act, seat_id, status, hold_id, holder, staff_id, reason)
SELECT $1, $2, seat_id, $4, $5, $6, $7, $8 FROM unnest($3::text[]) AS s (seat_id) ORDER BY seat_id;

-- name: write_area_changes
-- Puts on record what staff did to area places.
INSERT INTO status_change (event_id, act, area_id, quantity, status, hold_id, holder, staff_id, reason)
SELECT $1, $2, area_id, quantity, $5, $6, $7, $8, $9
FROM unnest($3::text[], $4::int[]) AS a (area_id, quantity) ORDER BY area_id;

-- name: list_holds
-- An event's staff holds that live, the oldest first, after a cursor. One that became a booking is the booking's, and a
-- closed sale has none.
SELECT h.* FROM staff_hold h JOIN event e ON e.id = h.event_id
WHERE h.event_id = $1 AND h.state <> 'ended' AND e.state <> 'closed'
  AND NOT EXISTS (SELECT FROM booking b WHERE b.hold_id = h.hold_id AND b.buyer_name IS NOT NULL)
  AND ($2::timestamptz IS NULL OR (h.created, h.hold_id) > ($2, $3))
ORDER BY h.created, h.hold_id
LIMIT $4;
