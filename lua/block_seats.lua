-- Takes seats off sale, and sets how many places of areas are. Not all-or-nothing: the rest is answered and left alone.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 skew_ms, 3 origin, 4 state, 5 seats, 6 areas
-- RETURN blocked, seq, refused_seats, refused_areas | no_book | other_stamp, stamp
-- `state` is 3 (house) or 4 (kill); `seats` {index, …} sorted; `areas` {area, '', places, …}: so many are blocked then,
-- however many are now, so that told twice is told once. What is held or sold is refused, and so are more places than
-- are open to all, with how many are. In msgpack.
local stamp, state = ARGV[1], tonumber(ARGV[4])
local seats, areas = cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6])
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), stamp)
if refusal then return refusal end
local free, refused = split_by_state(KEYS[1], runs_of(seats, 1), {[AVAILABLE] = true, [HOUSE] = true, [KILL] = true})
local full, changed_seats, changed_areas = {}, {}, {}
set_seats(KEYS[1], runs_of(free, 1), state, changed_seats)
for i = 1, #areas, 3 do
  local area, places = areas[i], areas[i + 2]
  local found = redis.call('HMGET', KEYS[3], area .. '/available', area .. '/allotments', area .. '/blocked')
  local left = found[1] and found[1] - kept_from(nil, allotments_of(found[2])) or -1
  local more = places - (found[3] or 0)
  if not found[1] or more > 0 and more > left then
    full[#full + 1], full[#full + 2] = area, left
  else
    move_areas(KEYS[3], changed_areas, nil, {area, '', more}, 'available', 'blocked')
  end
end
local seq = write_log(KEYS[4], stamp, 'block', ARGV[3], changed_seats, changed_areas, {})
return {'blocked', seq, cmsgpack.pack(refused), cmsgpack.pack(full)}
