-- Tells the book that the sale's rules have a new revision (state, on-sale time, limits).
-- INCLUDE inventory
-- KEYS 1 book, 2 log
-- ARGV 1 epoch, 2 revision
-- RETURN stamped, seq | same | newer, stamp | other_stamp, stamp | no_book
local stored = redis.call('HGET', KEYS[1], 'stamp')
if not stored then return {'no_book'} end
if epoch_of(stored) ~= ARGV[1] then return {'other_stamp', stored} end
local revision = tonumber(string.match(stored, ':(%d+)$'))
if revision == tonumber(ARGV[2]) then return {'same'} end
if revision > tonumber(ARGV[2]) then return {'newer', stored} end
local stamp = ARGV[1] .. ':' .. ARGV[2]
redis.call('HSET', KEYS[1], 'stamp', stamp)
return {'stamped', write_log(KEYS[2], stamp, 'event', '', {}, {}, {})}
