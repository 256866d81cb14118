-- Gives a hold back, whole (nothing named) or in part. Works while the sale is paused, and past the deadline.
-- INCLUDE inventory
-- INCLUDE fairness
-- INCLUDE holding
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 rules, 3 release
-- RULES 1 log_id, 2 skew_ms, 3 opens_ms, 4 max_seats, 5 max_holds, 6 hold_ms, 7 lifetime_ms, 8 orphan_rule
-- RULES 9 address_holds, 10 address_seats
-- RELEASE 1 verb, 2 tally_field, 3 hold_field, 4 hold_id, 5 origin, 6 name, 7 holder, 8 tombstone, 9 seats, 10 areas
-- RETURN released+now+ending | kept, seq, record, now_ms | not_in_hold, seat… | not_in_area, area… | in_checkout
-- RETURN expired | not_found | no_book | other_stamp, stamp
-- Packed as in hold_seats.lua. `tombstone` is the ended hold's record but for its digests, times and seq; `seats` is
-- {index, …} rising, `areas` {area, type, n, …}, type '' for the only type held; both empty for the whole hold.
local act = {cmsgpack.unpack(ARGV[3])}
local found = redis.call('HMGET', KEYS[2], 'stamp', act[2], act[3])
local refusal = stamp_refusal(found[1], ARGV[1])
if refusal then return refusal end
local now, tally, record, forget_ms = server_time_ms(skew_ms)
refusal, tally, record, forget_ms = release(act, found[3], found[2])
if refusal then return refusal end

-- Nothing below refuses.
local seq = append_entry(KEYS[5], '\149\167release' .. act[5], '\145\146' .. act[6] .. record .. '\0')
local ending = struct.pack('>BI8', 207, seq)
if tally then
  redis.call('HSET', KEYS[2], act[3], record .. ending, act[2], tally)
else
  redis.call('HSET', KEYS[2], act[3], record .. ending)
  redis.call('HDEL', KEYS[2], act[2])
end
if not forget_ms then return {'kept', seq, record .. ending, now} end
redis.call('ZADD', KEYS[3], forget_ms, act[4])
return 'released' .. struct.pack('>BI8', 207, now) .. ending
