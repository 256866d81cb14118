-- Gives seats that nobody has to a sales channel, and sets how many places of areas it has. Not all-or-nothing.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 origin, 3 channel, 4 seats, 5 areas
-- RETURN assigned, seq, refused_seats, refused_areas | no_book | other_stamp, stamp
-- `channel` 0 opens them to all. `seats` {index, …} sorted; `areas` {area, '', places, …}. What another channel's buyer
-- holds or bought is refused, and so are more places than are open, with how many there could be. In msgpack.
local stamp, channel = ARGV[1], tonumber(ARGV[3])
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), stamp)
if refusal then return refusal end

local refused, full, changed_seats, changed_areas = {}, {}, {}, {}
local runs, areas = runs_of(cmsgpack.unpack(ARGV[4]), 1), cmsgpack.unpack(ARGV[5])
for i = 1, #runs, 2 do
  local first, count = runs[i], runs[i + 1]
  local old, new = redis.call('GETRANGE', KEYS[1], first, first + count - 1), {}
  for j = 1, #old do
    local byte = string.byte(old, j)
    local state = byte % 8
    if byte ~= 8 * channel + state then
      if state == HELD or state == SOLD then
        refused[#refused + 1] = first + j - 1
      else
        byte = 8 * channel + state
        note_byte(changed_seats, first + j - 1, byte)
      end
    end
    new[j] = string.char(byte)
  end
  redis.call('SETRANGE', KEYS[1], first, table.concat(new))
end
for i = 1, #areas, 3 do
  local area, places = areas[i], areas[i + 2]
  local found = redis.call('HMGET', KEYS[3], area .. '/available', area .. '/allotments')
  local allotments = allotments_of(found[2])
  local taken, kept = 0, kept_from(channel, allotments)
  for j = 1, #allotments, 3 do if allotments[j] == channel then taken = allotments[j + 2] end end
  if not found[1] or places > taken and places - taken > found[1] - kept then
    full[#full + 1], full[#full + 2] = area, found[1] and taken + found[1] - kept or -1
  else
    set_allotment(KEYS[3], area, allotments, channel, places, 0)
    note_areas(KEYS[3], {area}, changed_areas)
  end
end
local seq = write_log(KEYS[4], stamp, 'assign', ARGV[2], changed_seats, changed_areas, {})
return {'assigned', seq, cmsgpack.pack(refused), cmsgpack.pack(full)}
