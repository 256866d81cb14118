-- The whole inventory and its version, read in one step.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp
-- RETURN inventory, seq, seats, areas | no_book | other_stamp, stamp
-- `areas` is {field, count, …} as stored.
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), ARGV[1])
if refusal then return refusal end
local last = redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)
local seq = tonumber(string.match(last[1][1], '-(%d+)$'))
return {'inventory', seq, redis.call('GET', KEYS[1]) or '', redis.call('HGETALL', KEYS[3])}
