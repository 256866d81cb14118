-- Gives a hold back, whole (nothing named) or in part. Works while the sale is paused, and past the deadline.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 hold_id, 5 origin, 6 seats, 7 areas
-- RETURN released, seq, now_ms | kept, seq, record, now_ms | not_in_hold, seat… | not_in_area, area… | in_checkout
-- RETURN expired | not_found | no_book | other_stamp, stamp
-- `seats` is {index, …} sorted, `areas` {area, type, n, …}; type '' stands for the only type held.
local stamp, holder, hold_id = ARGV[1], ARGV[3], ARGV[4]
local seats, areas = cmsgpack.unpack(ARGV[6]), cmsgpack.unpack(ARGV[7])
local found = redis.call('HMGET', KEYS[2], 'stamp', 'o:' .. holder, 'h:' .. hold_id)
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
local record, not_ours = own_active_hold(found[3], holder, nil)
if not record then return not_ours end
local left, missing = take_out_seats(record[SEATS], seats)
if #missing > 0 then return {'not_in_hold', unpack(missing)} end
local left_areas, out, wrong = take_out_areas(record[AREAS], areas)
if #wrong > 0 then return {'not_in_area', unpack(wrong)} end

-- Nothing below refuses.
local tally = tally_of(found[2])
local before = size_of(record[SEATS], record[AREAS])
local changed_seats, changed_areas = {}, {}
record[REASON] = 'own'
if #seats == 0 and #areas == 0 or #left == 0 and #left_areas == 0 then
  end_hold(KEYS[1], KEYS[4], record, 'held', 'own', changed_seats, changed_areas)
  tally = without(tally, hold_id)
  redis.call('ZADD', KEYS[3], record[LIFETIME] + TOMBSTONE_MS, hold_id)
else
  set_seats(KEYS[1], runs_of(seats, 1), AVAILABLE, changed_seats)
  move_areas(KEYS[4], out, 'held', 'available', changed_areas, record[CHANNEL])
  record[SEATS], record[AREAS] = left, left_areas
end
tally[1] = tally[1] - before + size_of(record[SEATS], record[AREAS])
record[SEQ] = write_log(KEYS[5], stamp, 'release', ARGV[5], changed_seats, changed_areas, {{hold_id, record}})
local packed = cmsgpack.pack(record)
redis.call('HSET', KEYS[2], 'h:' .. hold_id, packed)
write_tally(KEYS[2], holder, tally)
if record[STATE] == 'gone' then return {'released', record[SEQ], now} end
return {'kept', record[SEQ], packed, now}
