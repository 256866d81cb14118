-- Leaves a booking the places that it still owns: what else its record has is for sale again.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 skew_ms, 3 hold_id, 4 booking, 5 origin, 6 seats, 7 areas
-- RETURN kept, seq, record, now_ms | nothing | no_book | other_stamp, stamp
-- `seats` is {index, …} rising, `areas` {area, type, n, …}: what is kept, never what goes, so that it may be told late,
-- twice or out of order: before the sale, too, which then finds what is left. Acts only where the record bears this
-- booking's id, and keeps nothing that it does not have.
local stamp, hold_id = ARGV[1], ARGV[3]
local seats, areas = cmsgpack.unpack(ARGV[6]), cmsgpack.unpack(ARGV[7])
local found = redis.call('HMGET', KEYS[2], 'stamp', 'h:' .. hold_id)
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
local record = found[2] and cmsgpack.unpack(found[2])
if not record or record[BOOKING] ~= ARGV[4] or record[STATE] ~= 'checkout' and record[STATE] ~= 'sold' then
  return {'nothing'}
end
local going = take_out_seats(record[SEATS], seats)
local left_areas, going_areas = {}, {}
for i = 1, #record[AREAS], 3 do
  local area, kind, had, kept = record[AREAS][i], record[AREAS][i + 1], record[AREAS][i + 2], 0
  for j = 1, #areas, 3 do
    if areas[j] == area and areas[j + 1] == kind then kept = math.min(had, areas[j + 2]) end
  end
  if kept > 0 then merge_areas(left_areas, {area, kind, kept}) end
  if had > kept then merge_areas(going_areas, {area, kind, had - kept}) end
end
if #going == 0 and #going_areas == 0 then return {'nothing'} end

-- Nothing below refuses.
local now, changed_seats, changed_areas = server_time_ms(ARGV[2]), {}, {}
local from = record[STATE] == 'sold' and 'sold' or 'held'
local tally = tally_of(redis.call('HGET', KEYS[2], 'o:' .. record[HOLDER]))
tally[1] = tally[1] - size_of(going, going_areas)
set_seats(KEYS[1], runs_of(going, 2), AVAILABLE, changed_seats)
move_areas(KEYS[3], changed_areas, record[CHANNEL], going_areas, from, 'available')
record[SEATS], record[AREAS] = seats_not_in(record[SEATS], going), left_areas
record[SEQ] = write_log(KEYS[4], stamp, 'keep', ARGV[5], changed_seats, changed_areas, {{hold_id, record}})
local packed = cmsgpack.pack(record)
redis.call('HSET', KEYS[2], 'h:' .. hold_id, packed)
write_tally(KEYS[2], record[HOLDER], tally)
return {'kept', record[SEQ], packed, now}
