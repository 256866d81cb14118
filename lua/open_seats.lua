-- Opens what a sales channel has in one run of seats, and in areas, to all: whatever its state, which stays.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 origin, 3 channel, 4 first, 5 count, 6 areas
-- RETURN opened, seq | nothing | no_book | other_stamp, stamp
-- `areas` is {area, …}. Doing it twice is once; a run in which the channel has nothing leaves no entry in the log.
local stamp, channel, first = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), stamp)
if refusal then return refusal end

local changed_seats, changed_areas, low, high = {}, {}, 8 * channel, 8 * channel + 7
local bytes = redis.call('GETRANGE', KEYS[1], first, first + ARGV[5] - 1)
for j = 1, #bytes do
  local byte = string.byte(bytes, j)
  if byte >= low and byte <= high then note_byte(changed_seats, first + j - 1, byte - low) end
end
for i = 1, #changed_seats, 3 do
  redis.call('SETRANGE', KEYS[1], changed_seats[i], string.rep(string.char(changed_seats[i + 2]), changed_seats[i + 1]))
end
for _, area in ipairs(cmsgpack.unpack(ARGV[6])) do
  local allotments = allotments_of(redis.call('HGET', KEYS[3], area .. '/allotments'))
  for i = 1, #allotments, 3 do
    if allotments[i] == channel and allotments[i + 1] > 0 then
      set_allotment(KEYS[3], area, allotments, channel, 0, 0)
      note_areas(KEYS[3], {area}, changed_areas)
      break
    end
  end
end
if #changed_seats + #changed_areas == 0 then return {'nothing'} end
return {'opened', write_log(KEYS[4], stamp, 'open', ARGV[2], changed_seats, changed_areas, {})}
