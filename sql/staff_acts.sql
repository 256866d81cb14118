-- name: find_act
-- Whether a request's act was done.
SELECT state = 'done' FROM staff_act WHERE request = $1;

-- name: begin_act
-- Notes an act before it is done, and numbers it: in the event's turn, whose session must still have it.
INSERT INTO staff_act (request, event_id, epoch, act, hold_id, over_house, staff_id, reason)
SELECT $1, id, epoch, $3, $4, $5, $6, $7 FROM event WHERE id = $2
RETURNING number, epoch;

-- name: list_begun
-- The acts of an event of which nobody knows whether they were done, in their order.
SELECT number, epoch, act, hold_id, over_house, staff_id, reason FROM staff_act
WHERE event_id = $1 AND state = 'begun' ORDER BY number;

-- name: is_begun
-- Whether it is still begun; that the session answers says that its turn is not lost, too.
SELECT state = 'begun' FROM staff_act WHERE number = $1;

-- name: end_act
-- It was done, and is on record with what this transaction writes; nothing where somebody else has put it there.
UPDATE staff_act SET state = 'done' WHERE number = $1 AND state = 'begun' RETURNING number;

-- name: drop_act
-- It was refused, or never done: the request may begin anew.
DELETE FROM staff_act WHERE number = $1 AND state = 'begun';

-- name: list_left
-- Events whose acts were begun so many seconds ago, and not ended.
SELECT DISTINCT event_id FROM staff_act WHERE state = 'begun' AND created < now() - make_interval(secs => $1);

-- name: forget_done
-- Forgets acts whose requests may be forgotten, which are so many hours old.
DELETE FROM staff_act WHERE state = 'done' AND created < now() - make_interval(hours => $1);
