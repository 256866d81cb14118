-- Puts blocked seats and area places on sale again. What is not blocked is answered and left alone.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 skew_ms, 3 origin, 4 seats, 5 areas
-- RETURN unblocked, seq, refused_seats, refused_areas | no_book | other_stamp, stamp
local stamp = ARGV[1]
local seats, areas = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5])
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), stamp)
if refusal then return refusal end
local blocked, refused = split_by_state(KEYS[1], runs_of(seats, 1), {[HOUSE] = true, [KILL] = true})
local places, order = places_of(areas)
local refused_areas, wanted = {}, {}
for _, area in ipairs(order) do
  local n = tonumber(redis.call('HGET', KEYS[3], area .. '/blocked') or -1)
  if n < places[area] then
    refused_areas[#refused_areas + 1], refused_areas[#refused_areas + 2] = area, n
  else
    for _, value in ipairs({area, '', places[area]}) do wanted[#wanted + 1] = value end
  end
end

-- Nothing below refuses.
local changed_seats, changed_areas = {}, {}
set_seats(KEYS[1], runs_of(blocked, 1), AVAILABLE, changed_seats)
move_areas(KEYS[3], wanted, 'blocked', 'available', changed_areas)
local seq = write_log(KEYS[4], stamp, 'unblock', ARGV[3], changed_seats, changed_areas, {})
return {'unblocked', seq, cmsgpack.pack(refused), cmsgpack.pack(refused_areas)}
