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
local changed_seats, changed_areas, own, kept = {}, {}, {}, {}
for i = 1, #record[SEATS], 2 do own[record[SEATS][i]] = true end
for _, seat in ipairs(cmsgpack.unpack(ARGV[5])) do if own[seat] then kept[#kept + 1] = seat end end
local lent = still_lent(KEYS[4], record[LENT] or {}, cmsgpack.unpack(ARGV[6]))
end_for_good(KEYS, record, hold_id, 'staff', now, changed_seats, changed_areas)
set_seats(KEYS[1], runs_of(kept, 1), HOUSE, changed_seats)
for i = 1, #lent, 2 do move_places(KEYS[4], lent[i], lent[i + 1], 'available', 'blocked', changed_areas) end
record[SEQ] = write_log(KEYS[5], stamp, 'free', ARGV[7], changed_seats, changed_areas, {{hold_id, record}})
redis.call('HSET', KEYS[2], 'h:' .. hold_id, cmsgpack.pack(record))
return {'freed', record[SEQ], now}
