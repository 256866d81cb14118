-- Takes seats and area places off sale. Not all-or-nothing: what is held or sold is answered and left alone.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 skew_ms, 3 origin, 4 state, 5 seats, 6 areas
-- RETURN blocked, seq, refused_seats, refused_areas | no_book | other_stamp, stamp
-- `state` is 3 (house) or 4 (kill); `seats` {index, …} sorted; `areas` {area, '', n, …}. The refused come in msgpack;
-- an area that has too little room is refused whole.
local stamp, state = ARGV[1], tonumber(ARGV[4])
local seats, areas = cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6])
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), stamp)
if refusal then return refusal end
local free, refused = split_by_state(KEYS[1], runs_of(seats, 1), {[AVAILABLE] = true, [HOUSE] = true, [KILL] = true})
local full = areas_in_the_way(KEYS[3], areas, {})
local refused_areas, wanted = {}, {}
for i = 1, #full, 2 do refused_areas[full[i]] = true end
for i = 1, #areas, 3 do
  if not refused_areas[areas[i]] then
    for j = 0, 2 do wanted[#wanted + 1] = areas[i + j] end
  end
end

-- Nothing below refuses.
local changed_seats, changed_areas = {}, {}
set_seats(KEYS[1], runs_of(free, 1), state, changed_seats)
move_areas(KEYS[3], wanted, 'available', 'blocked', changed_areas)
local seq = write_log(KEYS[4], stamp, 'block', ARGV[3], changed_seats, changed_areas, {})
return {'blocked', seq, cmsgpack.pack(refused), cmsgpack.pack(full)}
