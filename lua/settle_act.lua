-- Tells what an act of staff did; where it was not done, it never will be.
-- INCLUDE inventory
-- KEYS 1 book
-- ARGV 1 stamp, 2 skew_ms, 3 number
-- RETURN done, seq, hold_id, before, after, now_ms, lent | nothing | ahead | no_book | other_stamp, stamp
-- Acts are settled in the order of their numbers, each before the next is done: so the book keeps the latest (acts.lua).
local stamp, number = ARGV[1], tonumber(ARGV[3])
local found = redis.call('HMGET', KEYS[1], 'stamp', 'act')
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local latest = found[2] and cmsgpack.unpack(found[2]) or {0}
if latest[1] == number and latest[2] then
  return {'done', latest[5], latest[2], latest[3], latest[4], server_time_ms(ARGV[2]), latest[6]}
end
if latest[1] > number then return {'ahead'} end
redis.call('HSET', KEYS[1], 'act', cmsgpack.pack({number}))
return {'nothing'}
