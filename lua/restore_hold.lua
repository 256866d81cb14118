-- Takes a checkout mark back: the hold is its holder's again, for the grace time at least, within its lifetime.
-- INCLUDE inventory
-- KEYS 1 book, 2 deadlines, 3 log
-- ARGV 1 stamp, 2 skew_ms, 3 hold_id, 4 booking, 5 grace_ms, 6 origin
-- RETURN restored, seq, record, now_ms | nothing | no_book | other_stamp, stamp
-- Acts only where the record bears this booking's id, so a restore that comes late or twice does nothing.
local stamp, hold_id = ARGV[1], ARGV[3]
local found = redis.call('HMGET', KEYS[1], 'stamp', 'h:' .. hold_id)
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local record = found[2] and cmsgpack.unpack(found[2])
if not record or record[STATE] ~= 'checkout' or record[BOOKING] ~= ARGV[4] then return {'nothing'} end

-- Nothing below refuses.
local now = server_time_ms(ARGV[2])
local deadline = math.min(math.max(record[DEADLINE], now + ARGV[5]), record[LIFETIME])
record[STATE], record[BOOKING], record[DEADLINE], record[REASON] = 'active', '', deadline, 'payment_failed'
record[SEQ] = write_log(KEYS[3], stamp, 'restore', ARGV[6], {}, {}, {{hold_id, record}})
local packed = cmsgpack.pack(record)
redis.call('HSET', KEYS[1], 'h:' .. hold_id, packed)
redis.call('ZADD', KEYS[2], deadline, hold_id)
return {'restored', record[SEQ], packed, now}
