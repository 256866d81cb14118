-- Adds seats and area places to a hold of the same holder (`hold` with `into`): all of them, or nothing.
-- INCLUDE inventory
-- INCLUDE fairness
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 hold_id, 5 digest, 6 request_hash, 7 origin, 8 opens_ms, 9 max_seats
-- ARGV 10 max_keys, 11 seats, 12 areas, 13 orphan_rule, 14 windows, 15 address
-- ARGV 16 address_holds, 17 address_seats
-- RETURN held, seq, record, now_ms | same, seq, record, now_ms, hold_id | taken, seat… | full, area, available…
-- RETURN barred, wait_ms, seat… | limit, max_seats | too_many_keys, max_keys | not_open, opens_ms | mismatch | expired | not_found
-- RETURN address_limit, most | in_checkout | orphan, seat… | no_book | other_stamp, stamp
-- The hold's own seats are held, so that the orphan rule judges the union (`windows` as in hold_seats.lua). It goes on
-- through the channel that it was made through.
local stamp, holder, hold_id, digest = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local seats, areas = cmsgpack.unpack(ARGV[11]), cmsgpack.unpack(ARGV[12])
local found = redis.call('HMGET', KEYS[2], 'stamp', 'o:' .. holder, 'k:' .. digest, 'h:' .. hold_id, 'x:' .. holder,
  'a:' .. ARGV[15])
local refusal = stamp_refusal(found[1], stamp) or answer_of_key(KEYS[2], found[3], ARGV[6], ARGV[2])
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
if now < tonumber(ARGV[8]) then return {'not_open', ARGV[8]} end
local record, not_ours = own_active_hold(found[4], holder, now)
if not record then return not_ours end
local tally = tally_of(found[2])
if tally[1] + size_of(seats, areas) > tonumber(ARGV[9]) then return {'limit', ARGV[9]} end
if digest ~= '' and #record[DIGESTS] >= tonumber(ARGV[10]) then return {'too_many_keys', ARGV[10]} end
local barred = barred_refusal(found[5], seats, now)
if barred then return barred end
local runs = runs_of(seats, 2)
local taken = seats_in_the_way(KEYS[1], runs, for_sale(record[CHANNEL]))
if #taken > 0 then return {'taken', unpack(taken)} end
local full = areas_in_the_way(KEYS[3], areas, {}, record[CHANNEL])
if #full > 0 then return {'full', unpack(full)} end
local many, there
if ARGV[15] ~= '' then
  local size = size_of(record[SEATS], record[AREAS]) + size_of(seats, areas)
  many, there = address_judged(KEYS[2], found[6], hold_id, size,
    tonumber(ARGV[16]), tonumber(ARGV[17]))
  if many then return many end
end
if ARGV[13] ~= 'off' then
  local alone = left_alone(KEYS[1], ARGV[13], cmsgpack.unpack(ARGV[14]), seats, {})
  if #alone > 0 then return {'orphan', unpack(alone)} end
end

-- Nothing below refuses.
local changed_seats, changed_areas = {}, {}
set_seats(KEYS[1], runs, HELD, changed_seats)
move_areas(KEYS[3], changed_areas, record[CHANNEL], areas, 'available', 'held')
record[SEATS] = merge_seats(record[SEATS], seats)
merge_areas(record[AREAS], areas)
record[REASON] = 'own'
if digest ~= '' then table.insert(record[DIGESTS], digest) end
record[SEQ] = write_log(KEYS[4], stamp, 'add', ARGV[7], changed_seats, changed_areas, {{hold_id, record}})
tally[1] = tally[1] + size_of(seats, areas)
local packed = cmsgpack.pack(record)
local fields = {'h:' .. hold_id, packed, 'o:' .. holder, cmsgpack.pack(tally)}
if digest ~= '' then fields[5], fields[6] = 'k:' .. digest, cmsgpack.pack({hold_id, ARGV[6]}) end
if there then fields[#fields + 1], fields[#fields + 2] = 'a:' .. ARGV[15], there end
redis.call('HSET', KEYS[2], unpack(fields))
return {'held', record[SEQ], packed, now}
