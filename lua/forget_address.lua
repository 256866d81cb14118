-- Forgets what is listed of an address from which nothing is held any more.
-- INCLUDE inventory
-- KEYS 1 book
-- ARGV 1 stamp, 2 field, 3 batch
-- RETURN forgotten | kept | no_book | other_stamp, stamp
-- `field` is an `a:` of the book (fairness.lua); it is kept as it is while one of its holds counts. Looks at `batch` holds
-- at a time, the latest first, and no further than to the first that counts.
local refusal = stamp_refusal(redis.call('HGET', KEYS[1], 'stamp'), ARGV[1])
if refusal then return refusal end
local raw = redis.call('HGET', KEYS[1], ARGV[2])
local listed, step = raw and cmsgpack.unpack(raw) or {}, 2 * ARGV[3]
for first = 1, #listed, step do
  local fields = {}
  for i = first, math.min(first + step, #listed) - 1, 2 do fields[#fields + 1] = 'h:' .. listed[i] end
  for _, record_raw in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
    local state = record_raw and cmsgpack.unpack(record_raw)[STATE]
    if state == 'active' or state == 'checkout' then return {'kept'} end
  end
end
redis.call('HDEL', KEYS[1], ARGV[2])
return {'forgotten'}
