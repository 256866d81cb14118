-- Turns the seats and places of a hold in checkout into sold ones. The record stays, as the sale's trace.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 hold_id, 4 booking, 5 origin
-- RETURN sold, seq, record, now_ms | nothing | no_book | other_stamp, stamp
-- Acts only where the record bears this booking's id, so a sale that is told late or twice does nothing.
local stamp, hold_id = ARGV[1], ARGV[3]
local found = redis.call('HMGET', KEYS[2], 'stamp', 'h:' .. hold_id)
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local record = found[2] and cmsgpack.unpack(found[2])
if not record or record[STATE] ~= 'checkout' or record[BOOKING] ~= ARGV[4] then return {'nothing'} end

-- Nothing below refuses.
local now = server_time_ms(ARGV[2])
local changed_seats, changed_areas = {}, {}
set_seats(KEYS[1], runs_of(record[SEATS], 2), SOLD, changed_seats)
move_areas(KEYS[4], changed_areas, nil, record[AREAS], 'held', 'sold')
record[STATE], record[REASON] = 'sold', 'booked'
record[SEQ] = write_log(KEYS[5], stamp, 'sell', ARGV[5], changed_seats, changed_areas, {{hold_id, record}})
local packed = cmsgpack.pack(record)
redis.call('HSET', KEYS[2], 'h:' .. hold_id, packed)
redis.call('ZREM', KEYS[3], hold_id)
return {'sold', record[SEQ], packed, now}
