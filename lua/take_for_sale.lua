-- Takes seats and area places straight into the booking that sells them at the counter: all of them, or nothing.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 hold_id, 5 booking, 6 origin, 7 max_seats, 8 mark_ms, 9 also, 10 seats, 11 areas
-- ARGV 12 channel, 13 house
-- RETURN marked, seq, record, now_ms, lent | same, seq, record, now_ms, hold_id, lent | taken, seat…
-- RETURN full, area, available… | limit, max_seats | not_found | no_book | other_stamp, stamp
-- `also`, `channel`, `house` and `lent` are those of hold_for_customer. What is taken is in checkout at once: it can
-- neither expire nor be released, and after `mark_ms` the sweep asks whether there is a claim. `hold_id` names the request:
-- a repetition finds its own, as long as nobody has ended it.
local stamp, holder, hold_id, booking = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local seats, areas, house = cmsgpack.unpack(ARGV[10]), cmsgpack.unpack(ARGV[11]), cmsgpack.unpack(ARGV[13])
local channel = tonumber(ARGV[12])
local found = redis.call('HMGET', KEYS[2], 'stamp', 'o:' .. holder, 'h:' .. hold_id)
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
if found[3] then
  local known = cmsgpack.unpack(found[3])
  if known[BOOKING] ~= booking or known[STATE] ~= 'checkout' then return {'not_found'} end
  return {'same', known[SEQ], found[3], now, hold_id, cmsgpack.pack(still_lent(KEYS[4], known, house))}
end
if size_of(seats, areas) > tonumber(ARGV[7]) then return {'limit', ARGV[7]} end
local runs = runs_of(seats, 2)
local taken = seats_in_the_way(KEYS[1], runs, for_sale(channel, tonumber(ARGV[9])))
if #taken > 0 then return {'taken', unpack(taken)} end
local full = areas_in_the_way(KEYS[4], areas, lent_by_house(KEYS[4], house), channel)
if #full > 0 then return {'full', unpack(full)} end

-- Nothing below refuses.
local changed_seats, changed_areas, ends, tally = {}, {}, now + ARGV[8], tally_of(found[2])
set_seats(KEYS[1], runs, HELD, changed_seats)
local lent = take_areas(KEYS[4], areas, channel, changed_areas)
local record = {holder, 'checkout', 0, booking, seats, areas, 'staff', {}, channel, ends, ends, now, 0}
if #lent > 0 then record[LENT] = lent end
record[SEQ] = write_log(KEYS[5], stamp, 'hold', ARGV[6], changed_seats, changed_areas, {{hold_id, record}})
tally[1], tally[#tally + 1] = tally[1] + size_of(seats, areas), hold_id
local packed = cmsgpack.pack(record)
redis.call('HSET', KEYS[2], 'h:' .. hold_id, packed, 'o:' .. holder, cmsgpack.pack(tally))
redis.call('ZADD', KEYS[3], ends, hold_id)
return {'marked', record[SEQ], packed, now, cmsgpack.pack(lent)}
