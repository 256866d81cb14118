-- A step of adopt: writes one batch of the new book beside the old one.
-- KEYS 1 book, 2 new_book, 3 new_deadlines
-- ARGV 1 epoch, 2 field_parts, 3 part…
-- RETURN written | lost
-- The first `field_parts` parts are {field, value, …} of the book, the rest {score, hold_id, …}; at most a batch.
if redis.call('HGET', KEYS[1], 'adopting') ~= ARGV[1] then return {'lost'} end
local field_parts = tonumber(ARGV[2])
if field_parts > 0 then redis.call('HSET', KEYS[2], unpack(ARGV, 3, field_parts + 2)) end
if #ARGV > field_parts + 2 then redis.call('ZADD', KEYS[3], unpack(ARGV, field_parts + 3)) end
return {'written'}
