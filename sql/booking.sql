-- name: lock_event_shared
-- Keeps adopt out while a claim or a sale is written; adopt takes the same lock exclusive.
SELECT pg_advisory_xact_lock_shared(7202, (SELECT number FROM event WHERE id = $1)::int);

-- name: claim
-- Claims holds of one event for their buyers, each under the epoch that it was marked in; nothing where the event has
-- moved on or sells no more (at the counter: not now), and nothing of a booking whose id is there already, whoever put it
-- there. Answers the event as it is and the ids that were claimed. Bookings and seats are written in the order of their
-- ids, whatever hold they are of: two batches that share any of them meet at the first, and never wait for one another in
-- a ring.
WITH fence AS (SELECT epoch, state FROM event WHERE id = $1),
asked AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
                         $8::text[], $9::text[], $10::bigint[], $11::text[], $12::bigint[], $13::float8[], $14::smallint[],
                         $15::text[], $16::text[], $17::text[], $18::text[])
    AS a (id, hold_id, holder, epoch, hold_created, lifetime_end, buyer_name, buyer_email, amount, currency,
          prices_version, pay_seconds, channel, origin, tender, staff_id, reason)),
claimed AS (
    INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, buyer_name,
                         buyer_email, amount, currency, prices_version, expires_at, channel, origin, tender, staff_id,
                         reason)
    SELECT id, $1, hold_id, holder, epoch, 'pending_payment', hold_created, lifetime_end, buyer_name, buyer_email,
           amount, currency, prices_version, now() + make_interval(secs => pay_seconds), channel, origin, tender,
           staff_id, reason
    FROM asked JOIN fence USING (epoch)
    WHERE fence.state NOT IN ('paused', 'closed') AND (tender IS NULL OR fence.state = 'open')
    ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, amount, tender),
-- The quoted lines: the price that was shown is the price that is charged.
quoted AS (
    SELECT l.* FROM unnest($19::text[], $20::int[], $21::text[], $22::text[], $23::text[], $24::bigint[], $25::bigint[],
                           $26::bigint[]) AS l (id, line, seat_id, area_id, type, amount, fee, tax)
    JOIN claimed USING (id)),
lined AS (
    INSERT INTO booking_line (booking_id, line, seat_id, area_id, type, amount, fee, tax) SELECT * FROM quoted),
seated AS (
    INSERT INTO booking_seat (booking_id, event_id, seat_id, type, state)
    SELECT id, $1, seat_id, type, 'claimed' FROM quoted WHERE seat_id IS NOT NULL ORDER BY seat_id),
-- What costs nothing, or is sold at the counter, is sold at once; for the rest Stripe is asked.
decided AS (
    INSERT INTO outbox (booking_id, event_id, act, key)
    SELECT id, $1, act, id || ':' || act
    FROM claimed, LATERAL (
        SELECT CASE WHEN amount = 0 OR tender IS NOT NULL THEN 'sell_hold' ELSE 'create_intent' END) AS due (act))
SELECT epoch, state, ARRAY(SELECT id FROM claimed) AS claimed FROM fence;

-- name: save_cards
-- Who wants the card to be saved has said so with the booking.
UPDATE payment SET save_card = true WHERE booking_id = ANY ($1::text[]);

-- name: insert_refused
-- Takes a booking's id out of the world, so that a claim of it that sleeps somewhere can never commit.
INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, currency)
SELECT $1, id, $3, $4, $5, 'failed', $6, $7, currency FROM event WHERE id = $2
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: use_up_house_blocks
-- Seats that are sold over a house hold are no longer kept by it; kills are never touched. Those that are there already
-- are taken in the order of their ids, as staff who block do.
WITH kept AS (
    SELECT seat_id FROM seat_block WHERE event_id = $1 AND seat_id = ANY ($2::text[]) AND kind = 'house'
    ORDER BY seat_id FOR UPDATE)
DELETE FROM seat_block WHERE event_id = $1 AND seat_id IN (SELECT seat_id FROM kept) AND kind = 'house';

-- name: house_blocks
-- The seats that the house keeps back.
SELECT seat_id FROM seat_block WHERE event_id = $1 AND kind = 'house';

-- name: forgo
-- What the places of a booking that is given away would have cost.
INSERT INTO comp_line (booking_id, line, amount, fee, tax)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[]);

-- name: claim_areas
-- Claims area places of bookings of one event.
INSERT INTO booking_area (booking_id, event_id, area_id, type, quantity, state)
SELECT booking_id, $1, area_id, type, quantity, 'claimed'
FROM unnest($2::text[], $3::text[], $4::text[], $5::int[]) AS a (booking_id, area_id, type, quantity);

-- name: lock_areas
-- Takes the rows of areas in the order of their ids, so that two claims never wait for one another in a ring. NO KEY:
-- claiming has put the foreign key's share lock on them, and two that have it would each wait for the other's end.
SELECT area_id FROM event_area WHERE event_id = $1 AND area_id = ANY ($2::text[]) ORDER BY area_id FOR NO KEY UPDATE;

-- name: take_places
-- Counts claimed places; the constraint area_is_never_oversold refuses what is too much.
UPDATE event_area SET taken = taken + sums.quantity
FROM (SELECT area_id, sum(quantity)::int AS quantity FROM unnest($2::text[], $3::int[]) AS a (area_id, quantity)
      GROUP BY area_id) AS sums
WHERE event_area.event_id = $1 AND event_area.area_id = sums.area_id;

-- name: lock_areas_of_booking
-- The same for the areas of a booking that gives its places back: in the order of their ids, as every claim does.
SELECT area_id FROM event_area
WHERE event_id = $2 AND area_id IN (SELECT area_id FROM booking_area WHERE booking_id = $1)
ORDER BY area_id FOR NO KEY UPDATE;

-- name: give_places_back
-- Counts the places of a booking that ended unsold out again.
UPDATE event_area SET taken = taken - sums.quantity
FROM (SELECT area_id, sum(quantity)::int AS quantity FROM booking_area
      WHERE booking_id = $1 AND state <> 'released' GROUP BY area_id) AS sums
WHERE event_area.event_id = $2 AND event_area.area_id = sums.area_id;

-- name: sell_seats
-- Claims become sales.
UPDATE booking_seat SET state = 'sold' WHERE booking_id = ANY ($1::text[]) AND state = 'claimed';

-- name: sell_areas
-- Claimed places become sold ones.
UPDATE booking_area SET state = 'sold' WHERE booking_id = ANY ($1::text[]) AND state = 'claimed';

-- name: release_seats
-- A booking that ended unsold lets its seats go.
UPDATE booking_seat SET state = 'released' WHERE booking_id = $1 AND state <> 'released';

-- name: release_areas
-- A booking that ended unsold lets its places go.
UPDATE booking_area SET state = 'released' WHERE booking_id = $1 AND state <> 'released';

-- name: load_booking
-- One booking, its PaymentIntent where it has one, and what it forgoes where it was given away.
SELECT b.*, p.intent_id, p.client_secret, p.state AS payment, p.save_card,
       CASE b.tender WHEN 'comp' THEN (SELECT sum(amount + fee)::bigint FROM comp_line WHERE booking_id = b.id) END AS forgone
FROM booking b LEFT JOIN payment p ON p.booking_id = b.id
WHERE b.id = $1;

-- name: lock_booking
-- One booking, for a decision about it.
SELECT * FROM booking WHERE id = $1 FOR UPDATE;

-- name: load_lines
-- The lines of bookings, in order.
SELECT * FROM booking_line WHERE booking_id = ANY ($1::text[]) ORDER BY booking_id, line;

-- name: list_bookings
-- A holder's bookings, the newest first, after a cursor; refused checkouts are none.
SELECT b.*, p.intent_id, p.client_secret, p.state AS payment, p.save_card,
       CASE b.tender WHEN 'comp' THEN (SELECT sum(amount + fee)::bigint FROM comp_line WHERE booking_id = b.id) END AS forgone
FROM booking b LEFT JOIN payment p ON p.booking_id = b.id
WHERE b.holder = $1 AND b.buyer_name IS NOT NULL
  AND ($2::timestamptz IS NULL OR (b.created, b.id) < ($2, $3))
ORDER BY b.created DESC, b.id DESC
LIMIT $4;

-- name: find_bookings
-- An event's bookings, the newest first, after a cursor: of one seat, with a part of the buyer's name or address, or with
-- this number; for the counter, which finds few of many.
SELECT b.*, p.intent_id, p.client_secret, p.state AS payment, p.save_card,
       CASE b.tender WHEN 'comp' THEN (SELECT sum(amount + fee)::bigint FROM comp_line WHERE booking_id = b.id) END AS forgone
FROM booking b LEFT JOIN payment p ON p.booking_id = b.id
WHERE b.event_id = $1 AND b.buyer_name IS NOT NULL
  AND ($2::text IS NULL OR EXISTS (SELECT FROM booking_seat s WHERE s.booking_id = b.id AND s.seat_id = $2))
  AND ($3::text IS NULL OR b.id = $3 OR strpos(lower(b.buyer_name), lower($3)) > 0
       OR strpos(lower(b.buyer_email), lower($3)) > 0)
  AND ($4::timestamptz IS NULL OR (b.created, b.id) < ($4, $5))
ORDER BY b.created DESC, b.id DESC
LIMIT $6;

-- name: move_booking
-- Changes a booking's state; the trigger refuses an illegal move and writes the history.
UPDATE booking SET state = $2 WHERE id = $1;

-- name: confirm_at_once
-- The same for bookings that cost nothing, or were paid for at the counter.
UPDATE booking SET state = 'confirmed' WHERE id = ANY ($1::text[]);

-- name: load_payment
-- The payment of a booking that is locked: read after the lock, for what was read with it is older.
SELECT state, intent_id FROM payment WHERE booking_id = $1;

-- name: keep_intent
-- A payment has its PaymentIntent.
UPDATE payment SET intent_id = $2, client_secret = $3, state = $4, looked_at = now() WHERE booking_id = $1;

-- name: note_payment
-- Keeps what Stripe said of an intent, where it is this payment's and in a state that may come before; nothing else.
UPDATE payment SET state = $3, looked_at = now()
WHERE booking_id = $1 AND intent_id = $2 AND state = ANY ($4::text[])
RETURNING booking_id;

-- name: abandon_payment
-- There never will be an intent; nothing where there is one.
UPDATE payment SET state = 'abandoned' WHERE booking_id = $1 AND state = 'preparing' RETURNING booking_id;

-- name: write_work
-- Decides that something is to be done outside; once, however often it is decided.
INSERT INTO outbox (booking_id, event_id, act, key) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING;

-- name: touch_booking
-- Its money has just moved: the next match of money leaves it until that has settled.
UPDATE booking SET changed = clock_timestamp() WHERE id = $1;

-- name: write_surplus
-- Decides that an intent which is not the booking's is to be ended; once, however often it is found.
INSERT INTO outbox (booking_id, event_id, act, key, intent_id)
SELECT id, event_id, 'cancel_surplus', $2, $3 FROM booking WHERE id = $1
ON CONFLICT (key) DO NOTHING;

-- name: keep_surplus
-- What was paid for a booking and buys nothing; nothing where that is known.
INSERT INTO surplus_payment (intent_id, booking_id, amount) VALUES ($1, $2, $3)
ON CONFLICT (intent_id) DO NOTHING
RETURNING intent_id;

-- name: write_surplus_refund
-- Decides that it goes back; once, however often it is found.
INSERT INTO outbox (booking_id, event_id, act, key, intent_id)
SELECT id, event_id, 'refund_surplus', $2, $3 FROM booking WHERE id = $1
ON CONFLICT (key) DO NOTHING;

-- name: load_surplus
-- What was paid and bought nothing, and whether it went back.
SELECT amount, returned FROM surplus_payment WHERE intent_id = $1;

-- name: return_surplus
-- Stripe has taken its refund; nothing where that is known.
UPDATE surplus_payment SET refund_id = $2, returned = now() WHERE intent_id = $1 AND returned IS NULL RETURNING amount;

-- name: strike_create
-- A create that was never sent need not be: nothing can have been charged.
UPDATE outbox SET done = now(), struck = true
WHERE booking_id = $1 AND act = 'create_intent' AND done IS NULL AND tries = 0
RETURNING id;

-- name: lease_creates
-- Takes payments that are to be made, from the head of the queue. They count as tried when their turn at Stripe has come.
UPDATE outbox SET leased_until = now() + make_interval(secs => $2)
WHERE id IN (
    SELECT id FROM outbox
    WHERE done IS NULL AND act = 'create_intent' AND due <= now() AND (leased_until IS NULL OR leased_until < now())
    ORDER BY id
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
RETURNING id, booking_id, event_id, act, key, attempt, tries, intent_id, refund_id;

-- name: renew_leases
-- Whoever is at them lives, and is at them still.
UPDATE outbox SET leased_until = now() + make_interval(secs => $2)
WHERE id = ANY ($1::bigint[]) AND done IS NULL AND leased_until IS NOT NULL;

-- name: end_leases
-- They are anybody's again.
UPDATE outbox SET leased_until = NULL WHERE id = ANY ($1::bigint[]) AND done IS NULL;

-- name: begin_create
-- Its turn has come: that it is tried is on record before it is sent, and under which key. Nothing where it was done or
-- struck meanwhile.
WITH begun AS (
    UPDATE outbox SET tries = tries + 1, leased_until = now() + make_interval(secs => $2)
    WHERE id = $1 AND done IS NULL
    RETURNING id, booking_id, event_id, act, key, attempt, tries, intent_id, refund_id),
noted AS (
    INSERT INTO payment_attempt AS known (booking_id, key, act)
    SELECT booking_id, key || ':' || attempt, act FROM begun
    ON CONFLICT (booking_id, key) DO UPDATE SET tries = known.tries + 1 WHERE known.outcome IS NULL)
SELECT * FROM begun;

-- name: lease_work
-- Takes what is due but for payments that are to be made, for a while that whoever is at it renews. That it is tried is on
-- record before it is sent, and of what is for Stripe under which key.
WITH leased AS (
    UPDATE outbox SET tries = tries + 1, leased_until = now() + make_interval(secs => $2)
    WHERE id IN (
        SELECT id FROM outbox
        WHERE done IS NULL AND act <> 'create_intent' AND due <= now()
          AND (leased_until IS NULL OR leased_until < now())
        ORDER BY due, id
        LIMIT $1
        FOR UPDATE SKIP LOCKED)
    RETURNING id, booking_id, event_id, act, key, attempt, tries, intent_id, refund_id),
begun AS (
    INSERT INTO payment_attempt AS known (booking_id, key, act)
    SELECT booking_id, key || ':' || attempt, act FROM leased
    WHERE act IN ('capture_intent', 'cancel_intent', 'cancel_surplus', 'refund_surplus', 'refund', 'transfer',
                  'reverse_transfer', 'transfer_again', 'reverse_surplus', 'submit_evidence')
    ON CONFLICT (booking_id, key) DO UPDATE SET tries = known.tries + 1 WHERE known.outcome IS NULL)
SELECT * FROM leased;

-- name: lease_work_of_booking
-- The same for one booking, for the request that is waiting for it.
WITH leased AS (
    UPDATE outbox SET tries = tries + 1, leased_until = now() + make_interval(secs => $2)
    WHERE id IN (
        SELECT id FROM outbox
        WHERE booking_id = $1 AND done IS NULL AND act <> 'create_intent' AND due <= now()
          AND (leased_until IS NULL OR leased_until < now())
        ORDER BY id
        FOR UPDATE SKIP LOCKED)
    RETURNING id, booking_id, event_id, act, key, attempt, tries, intent_id, refund_id),
begun AS (
    INSERT INTO payment_attempt AS known (booking_id, key, act)
    SELECT booking_id, key || ':' || attempt, act FROM leased
    WHERE act IN ('capture_intent', 'cancel_intent', 'cancel_surplus', 'refund_surplus', 'refund', 'transfer',
                  'reverse_transfer', 'transfer_again', 'reverse_surplus', 'submit_evidence')
    ON CONFLICT (booking_id, key) DO UPDATE SET tries = known.tries + 1 WHERE known.outcome IS NULL)
SELECT * FROM leased;

-- name: finish_work
-- It is done.
UPDATE outbox SET done = now(), leased_until = NULL, fault = NULL WHERE id = $1;

-- name: finish_attempt
-- It is done, and so is the attempt at Stripe that did it, or found it done.
WITH finished AS (UPDATE outbox SET done = now(), leased_until = NULL, fault = NULL WHERE id = $1)
UPDATE payment_attempt SET outcome = $4, fault = NULL, ended = clock_timestamp()
WHERE booking_id = $2 AND key = $3 AND outcome IS NULL;

-- name: postpone_work
-- It did not succeed: again later.
UPDATE outbox SET due = now() + make_interval(secs => $2), leased_until = NULL, fault = $3
WHERE id = $1 AND done IS NULL;

-- name: postpone_attempt
-- Stripe did not say yes: again later. An attempt that ends here is followed by another one, with another key; one whose
-- outcome is not known goes on. The number is that of the attempt, so that who comes late raises it no further.
WITH postponed AS (
    UPDATE outbox SET due = CASE WHEN $8 THEN 'infinity' ELSE now() + make_interval(secs => $2) END,
                      stuck = CASE WHEN $8 THEN clock_timestamp() END, leased_until = NULL, fault = $3,
                      attempt = CASE WHEN $6::text IS NULL THEN attempt ELSE greatest(attempt, $7::int + 1) END
    WHERE id = $1 AND done IS NULL)
UPDATE payment_attempt SET fault = $3, outcome = $6::text,
                           ended = CASE WHEN $6::text IS NOT NULL THEN clock_timestamp() END
WHERE booking_id = $4 AND key = $5 AND outcome IS NULL;

-- name: begin_attempt
-- A call to Stripe that no row of the outbox is for by itself.
INSERT INTO payment_attempt AS known (booking_id, key, act) VALUES ($1, $2, $3)
ON CONFLICT (booking_id, key) DO UPDATE SET tries = known.tries + 1 WHERE known.outcome IS NULL;

-- name: end_attempt
-- What became of it.
UPDATE payment_attempt SET outcome = $3, ended = clock_timestamp()
WHERE booking_id = $1 AND key = $2 AND outcome IS NULL;

-- name: keep_notice
-- Keeps a notice of Stripe's; nothing where it came before.
INSERT INTO stripe_notice (id, type, intent_id, account_id, payout_id) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO NOTHING RETURNING id;

-- name: open_notices
-- Notices that nobody has looked into yet.
SELECT n.id, n.type, n.intent_id, coalesce(p.booking_id, s.booking_id) AS booking_id, n.account_id, n.payout_id
FROM stripe_notice n LEFT JOIN payment p ON p.intent_id = n.intent_id
LEFT JOIN surplus_payment s ON s.intent_id = n.intent_id AND n.type LIKE 'charge.dispute.%'
WHERE n.done IS NULL AND n.due <= now() ORDER BY n.due LIMIT $1;

-- name: postpone_notice
-- Its look failed: again after some seconds, and later and later, as it grows old, up to so many.
UPDATE stripe_notice SET due = now() + greatest(
    make_interval(secs => $2), least(now() - received, make_interval(secs => $3)))
WHERE id = $1;

-- name: finish_notice
-- A notice was looked into.
UPDATE stripe_notice SET done = now() WHERE id = $1;

-- name: bookings_to_expire
-- Claims that nobody paid for in time. Whoever has paid by a way that takes the bank days has until the bank's time is up.
SELECT id FROM booking b
WHERE state = 'pending_payment' AND expires_at <= now()
  AND (expires_at <= now() - make_interval(secs => $2)
       OR NOT EXISTS (SELECT FROM payment p WHERE p.booking_id = b.id AND p.state = 'processing'))
ORDER BY expires_at LIMIT $1;

-- name: bookings_to_look_at
-- Takes bookings whose payment is undecided and that nobody asked Stripe about for a while: one worker looks at each,
-- and while Stripe does not answer, each has its turn. A bank takes days, so it is not asked about each minute.
UPDATE payment SET looked_at = now()
WHERE booking_id IN (
    SELECT booking_id FROM payment
    WHERE state IN ('requires_payment_method', 'requires_confirmation', 'requires_action', 'processing',
                    'requires_capture')
      AND looked_at < now() - make_interval(secs => CASE WHEN state = 'processing' THEN $3::float8 ELSE $2::float8 END)
    ORDER BY looked_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
RETURNING booking_id AS id;
