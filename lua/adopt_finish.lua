-- The last step of adopt: the new inventory takes the old one's place under its new epoch.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log, 6 new_book, 7 new_deadlines
-- ARGV 1 epoch, 2 revision, 3 seats, 4 areas
-- RETURN adopted | lost
-- `areas` is {field, count or {allotment, …}, …} in msgpack. The log starts anew with entry epoch-0.
local INDEXED_FROM = 60
if redis.call('HGET', KEYS[2], 'adopting') ~= ARGV[1] then return {'lost'} end
local areas = cmsgpack.unpack(ARGV[4])
for i = 2, #areas, 2 do
  if type(areas[i]) == 'table' then areas[i] = #areas[i] > 0 and cmsgpack.pack(areas[i]) or '' end
end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
redis.call('SET', KEYS[1], ARGV[3])
if #areas > 0 then redis.call('HSET', KEYS[4], unpack(areas)) end
-- A hash of few short fields is a list, searched from its beginning: with 100 areas a hold's were 20 µs each. One that
-- has had a long value has an index, and keeps it.
if #areas > 2 * INDEXED_FROM then
  redis.call('HSET', KEYS[4], '', string.rep(' ', 1000))
  redis.call('HDEL', KEYS[4], '')
end
if redis.call('EXISTS', KEYS[6]) == 1 then redis.call('RENAME', KEYS[6], KEYS[2]) end
if redis.call('EXISTS', KEYS[7]) == 1 then redis.call('RENAME', KEYS[7], KEYS[3]) end
redis.call('HSET', KEYS[2], 'stamp', ARGV[1] .. ':' .. ARGV[2])
redis.call('XADD', KEYS[5], ARGV[1] .. '-0', 'e', cmsgpack.pack({'epoch', '', {}, {}, {}}))
return {'adopted'}
