-- Marks a hold with the booking that is being made of it: from here it can neither expire nor be released.
-- INCLUDE inventory
-- KEYS 1 book, 2 deadlines, 3 log
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 hold_id, 5 booking, 6 origin, 7 mark_ms
-- RETURN marked, seq, record, now_ms | same, seq, record, now_ms, hold_id | in_checkout, booking | expired | not_found
-- RETURN no_book | other_stamp, stamp
-- The epoch of the mark, which the claim must bear, is the stamp's. After `mark_ms` the sweep asks whether there is one.
local stamp, hold_id, booking = ARGV[1], ARGV[4], ARGV[5]
local found = redis.call('HMGET', KEYS[1], 'stamp', 'h:' .. hold_id)
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
local record, not_ours = own_active_hold(found[2], ARGV[3], now)
if not record then
  if not_ours[1] ~= 'in_checkout' then return not_ours end
  record = cmsgpack.unpack(found[2])
  if record[BOOKING] == booking then return {'same', record[SEQ], found[2], now, hold_id} end
  return {'in_checkout', record[BOOKING]}
end

-- Nothing below refuses.
record[STATE], record[BOOKING], record[REASON] = 'checkout', booking, 'own'
record[SEQ] = write_log(KEYS[3], stamp, 'checkout', ARGV[6], {}, {}, {{hold_id, record}})
local packed = cmsgpack.pack(record)
redis.call('HSET', KEYS[1], 'h:' .. hold_id, packed)
redis.call('ZADD', KEYS[2], now + ARGV[7], hold_id)
return {'marked', record[SEQ], packed, now}
