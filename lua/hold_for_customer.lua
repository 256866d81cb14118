-- Takes seats and area places for a customer of the box office, until they are released: all of them, or nothing.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 hold_id, 5 origin, 6 max_seats, 7 max_holds, 8 until_ms, 9 also
-- ARGV 10 seats, 11 areas, 12 channel, 13 house, 14 note
-- RETURN held, seq, record, now_ms, lent | same, seq, record, now_ms, hold_id, lent | taken, seat…
-- RETURN full, area, available… | limit, max_seats | too_many_holds, max_holds | not_found | overtaken | no_book
-- RETURN other_stamp, stamp
-- `also` is the state that may be taken beside available: 3 over a house hold, else 0; a killed seat is never taken.
-- `channel` is the box office's: seats and places of another channel are not staff's to give away.
-- `house` is {area, off_sale, kept, …}, what PostgreSQL has blocked of places, and of that for the house: empty, none of
-- these is taken. Those for sale go first; `lent`, {area, n, …}, are those that the house had, and PostgreSQL says it has.
-- `hold_id` names the request: a repetition finds its own hold. Neither the sale's hours nor its deadlines apply.
-- `note` says when PostgreSQL noted it, 0 for not at all: what was settled since (settle_hold.lua) is not taken any more.
local stamp, holder, hold_id = ARGV[1], ARGV[3], ARGV[4]
local seats, areas, house = cmsgpack.unpack(ARGV[10]), cmsgpack.unpack(ARGV[11]), cmsgpack.unpack(ARGV[13])
local channel = tonumber(ARGV[12])
local found = redis.call('HMGET', KEYS[2], 'stamp', 'o:' .. holder, 'h:' .. hold_id, 'noted')
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
if found[3] then
  local known = cmsgpack.unpack(found[3])
  if known[HOLDER] ~= holder or known[STATE] == 'gone' then return {'not_found'} end
  return {'same', known[SEQ], found[3], now, hold_id, cmsgpack.pack(still_lent(KEYS[4], known, house))}
end
if found[4] and tonumber(ARGV[14]) > 0 and tonumber(found[4]) >= tonumber(ARGV[14]) then return {'overtaken'} end
local tally = tally_of(found[2])
if tally[1] + size_of(seats, areas) > tonumber(ARGV[6]) then return {'limit', ARGV[6]} end
if #tally - 1 >= tonumber(ARGV[7]) then return {'too_many_holds', ARGV[7]} end
local runs = runs_of(seats, 2)
local taken = seats_in_the_way(KEYS[1], runs, for_sale(channel, tonumber(ARGV[9])))
if #taken > 0 then return {'taken', unpack(taken)} end
local full = areas_in_the_way(KEYS[4], areas, lent_by_house(KEYS[4], house), channel)
if #full > 0 then return {'full', unpack(full)} end

-- Nothing below refuses.
local changed_seats, changed_areas, far = {}, {}, tonumber(ARGV[8])
set_seats(KEYS[1], runs, HELD, changed_seats)
local lent = take_areas(KEYS[4], areas, channel, changed_areas)
local record = {holder, 'active', 0, '', seats, areas, 'staff', {}, channel, far, far, now, 0}
if #lent > 0 then record[LENT] = lent end
record[SEQ] = write_log(KEYS[5], stamp, 'hold', ARGV[5], changed_seats, changed_areas, {{hold_id, record}})
tally[1], tally[#tally + 1] = tally[1] + size_of(seats, areas), hold_id
local packed = cmsgpack.pack(record)
redis.call('HSET', KEYS[2], 'h:' .. hold_id, packed, 'o:' .. holder, cmsgpack.pack(tally))
redis.call('ZADD', KEYS[3], far, hold_id)
return {'held', record[SEQ], packed, now, cmsgpack.pack(lent)}
