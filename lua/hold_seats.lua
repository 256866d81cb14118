-- Takes seats and area places for a holder: all of them, or nothing.
-- INCLUDE inventory
-- INCLUDE fairness
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 hold_id, 5 digest, 6 request_hash, 7 origin, 8 opens_ms, 9 max_seats
-- ARGV 10 max_holds, 11 hold_ms, 12 lifetime_ms, 13 seats, 14 areas, 15 orphan_rule, 16 windows, 17 channel
-- ARGV 18 address, 19 address_holds, 20 address_seats
-- RETURN held, seq, record, now_ms | same, seq, record, now_ms, hold_id | taken, seat… | full, area, available…
-- RETURN limit, max_seats | too_many_holds, max_holds | not_open, opens_ms | mismatch | expired | not_found
-- RETURN cooling, wait_ms | barred, wait_ms, seat… | address_limit, most | orphan, seat… | no_book | other_stamp, stamp
-- `digest` is empty where the client sent no key. `seats` is {index, type, …} sorted, `areas` {area, type, n, …}.
-- `orphan_rule` is off, strict or lenient; `windows` is {{seat, …}, …}, the seats around the wished ones in
-- standing order, {first, last} rising for all between them; empty where the rule is off. `channel` is the number of
-- the one that the holder buys through, 0 where it has nothing of its own: another one's seats are taken, to this one.
-- `address` is a keyed hash of the network address that counts, empty for none.
local stamp, holder, hold_id, digest = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local seats, areas, channel = cmsgpack.unpack(ARGV[13]), cmsgpack.unpack(ARGV[14]), tonumber(ARGV[17])
local found = redis.call('HMGET', KEYS[2], 'stamp', 'o:' .. holder, 'k:' .. digest, 'x:' .. holder, 'a:' .. ARGV[18])
local refusal = stamp_refusal(found[1], stamp) or answer_of_key(KEYS[2], found[3], ARGV[6], ARGV[2])
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
if now < tonumber(ARGV[8]) then return {'not_open', ARGV[8]} end
local tally = tally_of(found[2])
if tally[1] + size_of(seats, areas) > tonumber(ARGV[9]) then return {'limit', ARGV[9]} end
if #tally - 1 >= tonumber(ARGV[10]) then return {'too_many_holds', ARGV[10]} end
local unfair = cooling_refusal(found[4], now) or barred_refusal(found[4], seats, now)
if unfair then return unfair end
local runs = runs_of(seats, 2)
local taken = seats_in_the_way(KEYS[1], runs, for_sale(channel))
if #taken > 0 then return {'taken', unpack(taken)} end
local full = areas_in_the_way(KEYS[4], areas, {}, channel)
if #full > 0 then return {'full', unpack(full)} end
local there
if ARGV[18] ~= '' then
  refusal, there =
    address_judged(KEYS[2], found[5], hold_id, size_of(seats, areas), tonumber(ARGV[19]), tonumber(ARGV[20]))
  if refusal then return refusal end
end
if ARGV[15] ~= 'off' then
  local alone = left_alone(KEYS[1], ARGV[15], cmsgpack.unpack(ARGV[16]), seats, {})
  if #alone > 0 then return {'orphan', unpack(alone)} end
end

-- Nothing below refuses.
local changed_seats, changed_areas = {}, {}
set_seats(KEYS[1], runs, HELD, changed_seats)
move_areas(KEYS[4], areas, 'available', 'held', changed_areas, channel)
local lifetime = now + ARGV[12]
local deadline = math.min(now + ARGV[11], lifetime)
local digests = digest ~= '' and {digest} or {}
local record = {holder, 'active', deadline, lifetime, 0, '', seats, areas, now, 0, 'own', digests, channel}
record[SEQ] = write_log(KEYS[5], stamp, 'hold', ARGV[7], changed_seats, changed_areas, {{hold_id, record}})
tally[1], tally[#tally + 1] = tally[1] + size_of(seats, areas), hold_id
local packed = cmsgpack.pack(record)
local fields = {'h:' .. hold_id, packed, 'o:' .. holder, cmsgpack.pack(tally)}
if digest ~= '' then fields[5], fields[6] = 'k:' .. digest, cmsgpack.pack({hold_id, ARGV[6]}) end
if there then fields[#fields + 1], fields[#fields + 2] = 'a:' .. ARGV[18], there end
redis.call('HSET', KEYS[2], unpack(fields))
redis.call('ZADD', KEYS[3], deadline, hold_id)
return {'held', record[SEQ], packed, now}
