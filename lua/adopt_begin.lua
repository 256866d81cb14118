-- The first step of adopt: closes the book to every other script and clears what an earlier adopter left behind.
-- INCLUDE inventory
-- KEYS 1 book, 2 new_book, 3 new_deadlines
-- ARGV 1 epoch
-- RETURN begun | newer, epoch
-- Refuses where the book's epoch, finished or being adopted, is already newer: a late adopter changes nothing.
local found = redis.call('HMGET', KEYS[1], 'stamp', 'adopting')
local finished, adopting = tonumber(found[1] and epoch_of(found[1]) or 0), tonumber(found[2] or 0)
local newest = math.max(finished, adopting)
if newest >= tonumber(ARGV[1]) then return {'newer', newest} end
redis.call('HSET', KEYS[1], 'adopting', ARGV[1])
redis.call('HDEL', KEYS[1], 'stamp')
redis.call('UNLINK', KEYS[2], KEYS[3])
return {'begun'}
