-- Swaps what a hold names for other seats and area places (`hold` with `replace`), in one step or not at all.
-- INCLUDE inventory
-- INCLUDE fairness
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 hold_id, 5 digest, 6 request_hash, 7 origin, 8 opens_ms, 9 max_seats
-- ARGV 10 max_keys, 11 seats, 12 areas, 13 expected_seq, 14 orphan_rule, 15 windows, 16 address
-- ARGV 17 address_holds, 18 address_seats
-- RETURN held, seq, record, now_ms | same, seq, record, now_ms, hold_id | taken, seat… | full, area, available…
-- RETURN barred, wait_ms, seat… | limit, max_seats | too_many_keys, max_keys | not_open, opens_ms | mismatch | expired | not_found
-- RETURN address_limit, most | in_checkout | changed | orphan, seat… | no_book | other_stamp, stamp
-- `expected_seq` is that of the record which the caller read, or empty. The hold keeps its id, deadline, lifetime and
-- extensions, and goes on through its channel; its own seats and places count as free. `windows` as in hold_seats.lua.
local stamp, holder, hold_id, digest = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local seats, areas = cmsgpack.unpack(ARGV[11]), cmsgpack.unpack(ARGV[12])
local found = redis.call('HMGET', KEYS[2], 'stamp', 'o:' .. holder, 'k:' .. digest, 'h:' .. hold_id, 'x:' .. holder,
  'a:' .. ARGV[16])
local refusal = stamp_refusal(found[1], stamp) or answer_of_key(KEYS[2], found[3], ARGV[6], ARGV[2])
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
if now < tonumber(ARGV[8]) then return {'not_open', ARGV[8]} end
local record, not_ours = own_active_hold(found[4], holder, now)
if not record then return not_ours end
if ARGV[13] ~= '' and record[SEQ] ~= tonumber(ARGV[13]) then return {'changed'} end
local tally = tally_of(found[2])
local size = tally[1] - size_of(record[SEATS], record[AREAS]) + size_of(seats, areas)
if size > tonumber(ARGV[9]) then return {'limit', ARGV[9]} end
if digest ~= '' and #record[DIGESTS] >= tonumber(ARGV[10]) then return {'too_many_keys', ARGV[10]} end
local fresh, leaving = seats_not_in(seats, record[SEATS]), seats_not_in(record[SEATS], seats)
local barred = barred_refusal(found[5], fresh, now)
if barred then return barred end
local taken = seats_in_the_way(KEYS[1], runs_of(fresh, 2), for_sale(record[CHANNEL]))
if #taken > 0 then return {'taken', unpack(taken)} end
local own = places_of(record[AREAS])
local full = areas_in_the_way(KEYS[3], areas, own, record[CHANNEL])
if #full > 0 then return {'full', unpack(full)} end
local many, there
if ARGV[16] ~= '' and size_of(seats, areas) > size_of(record[SEATS], record[AREAS]) then
  many, there = address_judged(KEYS[2], found[6], hold_id, size_of(seats, areas),
    tonumber(ARGV[17]), tonumber(ARGV[18]))
  if many then return many end
end
if ARGV[14] ~= 'off' then
  local alone = left_alone(KEYS[1], ARGV[14], cmsgpack.unpack(ARGV[15]), seats, record[SEATS])
  if #alone > 0 then return {'orphan', unpack(alone)} end
end

-- Nothing below refuses.
local changed_seats, changed_areas = {}, {}
set_seats(KEYS[1], runs_of(leaving, 2), AVAILABLE, changed_seats)
set_seats(KEYS[1], runs_of(fresh, 2), HELD, changed_seats)
move_areas(KEYS[3], changed_areas, record[CHANNEL], record[AREAS], 'held', 'available', areas, 'available', 'held')
record[SEATS], record[AREAS], record[REASON] = seats, areas, 'own'
if digest ~= '' then table.insert(record[DIGESTS], digest) end
record[SEQ] = write_log(KEYS[4], stamp, 'replace', ARGV[7], changed_seats, changed_areas, {{hold_id, record}})
tally[1] = size
local packed = cmsgpack.pack(record)
local fields = {'h:' .. hold_id, packed, 'o:' .. holder, cmsgpack.pack(tally)}
if digest ~= '' then fields[5], fields[6] = 'k:' .. digest, cmsgpack.pack({hold_id, ARGV[6]}) end
if there then fields[#fields + 1], fields[#fields + 2] = 'a:' .. ARGV[16], there end
redis.call('HSET', KEYS[2], unpack(fields))
return {'held', record[SEQ], packed, now}
