-- Undoes take_for_sale: its places are what they were before.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 hold_id, 4 booking, 5 house, 6 areas, 7 origin
-- RETURN freed, seq, now_ms | nothing | no_book | other_stamp, stamp
-- `house` are the seats that the house keeps back, rising; those of the hold are its again, and all others for sale.
-- `areas` is what PostgreSQL has blocked of places, {area, off_sale, kept, …}: what the hold was lent is blocked again.
-- Acts only where the record bears this booking's id and its sale was not told.
local stamp, hold_id = ARGV[1], ARGV[3]
local found = redis.call('HMGET', KEYS[2], 'stamp', 'h:' .. hold_id)
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local record = found[2] and cmsgpack.unpack(found[2])
if not record or record[STATE] ~= 'checkout' or record[BOOKING] ~= ARGV[4] then return {'nothing'} end

-- Nothing below refuses.
local now = server_time_ms(ARGV[2])
local house, blocks, changed_seats, changed_areas = cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6]), {}, {}
end_for_house(KEYS, record, hold_id, now, house, blocks, changed_seats, changed_areas)
record[SEQ] = write_log(KEYS[5], stamp, 'free', ARGV[7], changed_seats, changed_areas, {{hold_id, record}})
redis.call('HSET', KEYS[2], 'h:' .. hold_id, cmsgpack.pack(record))
return {'freed', record[SEQ], now}
