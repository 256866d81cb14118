-- The whole inventory and its version, read in one step.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 seat_count, 3 area_fields
-- RETURN inventory, seq, seats, areas | no_book | other_stamp, stamp
-- `areas` is {field, count, …} as stored.
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), ARGV[1])
if refusal then return refusal end
local seq = seq_of_whole(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3], 0)
if not seq then return {'no_book'} end
return {'inventory', seq, redis.call('GET', KEYS[1]) or '', redis.call('HGETALL', KEYS[3])}
