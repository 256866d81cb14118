-- Ends a booking's hold, in checkout or sold: its seats and places are for sale again.
-- INCLUDE inventory
-- INCLUDE fairness
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 hold_id, 4 booking, 5 reason, 6 origin, 7 expired_holds, 8 cooldown_ms
-- ARGV 9 cooldown_max_ms, 10 rehold_ms
-- RETURN freed, seq, now_ms | nothing | no_book | other_stamp, stamp
-- Acts only where the record bears this booking's id: told late or twice, it opens nobody else's seat. Who lets the time
-- to pay pass (reason `expired`) has let a hold expire.
local stamp, hold_id = ARGV[1], ARGV[3]
local found = redis.call('HMGET', KEYS[2], 'stamp', 'h:' .. hold_id)
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local record = found[2] and cmsgpack.unpack(found[2])
if not record or record[BOOKING] ~= ARGV[4] or record[STATE] ~= 'checkout' and record[STATE] ~= 'sold' then
  return {'nothing'}
end

-- Nothing below refuses.
local now = server_time_ms(ARGV[2])
local changed_seats, changed_areas = {}, {}
local from = record[STATE] == 'sold' and 'sold' or 'held'
local tally = without(tally_of(redis.call('HGET', KEYS[2], 'o:' .. record[HOLDER])), hold_id)
tally[1] = tally[1] - size_of(record[SEATS], record[AREAS])
local cooling = 0
if ARGV[5] == 'expired' then
  local budget, cooldown_ms, cooldown_max_ms = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
  cooling = note_lost(KEYS[2], record, 1, budget, cooldown_ms, cooldown_max_ms, tonumber(ARGV[10]), now)
end
end_hold(KEYS[1], KEYS[4], record, from, ARGV[5], changed_seats, changed_areas)
record[SEQ] = write_log(KEYS[5], stamp, 'free', ARGV[6], changed_seats, changed_areas, {{hold_id, record}})
redis.call('HSET', KEYS[2], 'h:' .. hold_id, cmsgpack.pack(record))
write_tally(KEYS[2], record[HOLDER], tally)
redis.call('ZADD', KEYS[3], math.max(record[LIFETIME], now, cooling) + TOMBSTONE_MS, hold_id)
return {'freed', record[SEQ], now}
