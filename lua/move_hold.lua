-- Moves anybody's hold to other seats and area places on behalf of staff, in one step or not at all.
-- INCLUDE inventory
-- INCLUDE acts
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 skew_ms, 3 hold_id, 4 origin, 5 max_seats, 6 also, 7 seats, 8 areas, 9 channel
-- ARGV 10 act
-- RETURN moved, seq, before, record, now_ms | taken, seat… | full, area, available… | limit, max_seats
-- RETURN expired | not_found | in_checkout | overtaken | no_book | other_stamp, stamp
-- `also` is the state that may be taken beside available: 3 over a house hold, else 0. The hold keeps its id, holder,
-- deadline, lifetime, extensions and channel; its own seats and places count as free. `channel` is the box office's,
-- whose seats staff may give it beside those of its own. `before` is the record as it was.
-- `act` is the number under which PostgreSQL has a note of it; 0 for none.
local stamp, hold_id, act = ARGV[1], ARGV[3], tonumber(ARGV[10])
local seats, areas = cmsgpack.unpack(ARGV[7]), cmsgpack.unpack(ARGV[8])
local found = redis.call('HMGET', KEYS[2], 'stamp', 'h:' .. hold_id, 'act')
local refusal = stamp_refusal(found[1], stamp) or overtaken_refusal(found[3], act)
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
local holder = found[2] and cmsgpack.unpack(found[2])[HOLDER]
local record, not_active = own_active_hold(found[2], holder, now)
if not record then return not_active end
local tally = tally_of(redis.call('HGET', KEYS[2], 'o:' .. holder))
local size = tally[1] - size_of(record[SEATS], record[AREAS]) + size_of(seats, areas)
if size > tonumber(ARGV[5]) then return {'limit', ARGV[5]} end
local fresh, leaving = seats_not_in(seats, record[SEATS]), seats_not_in(record[SEATS], seats)
local bytes = for_sale(record[CHANNEL], tonumber(ARGV[6]), tonumber(ARGV[9]))
local taken = seats_in_the_way(KEYS[1], runs_of(fresh, 2), bytes)
if #taken > 0 then return {'taken', unpack(taken)} end
local own = places_of(record[AREAS])
local full = areas_in_the_way(KEYS[3], areas, own, record[CHANNEL])
if #full > 0 then return {'full', unpack(full)} end

-- Nothing below refuses.
local changed_seats, changed_areas = {}, {}
set_seats(KEYS[1], runs_of(leaving, 2), AVAILABLE, changed_seats)
set_seats(KEYS[1], runs_of(fresh, 2), HELD, changed_seats)
move_areas(KEYS[3], changed_areas, record[CHANNEL], record[AREAS], 'held', 'available', areas, 'available', 'held')
record[SEATS], record[AREAS], record[REASON] = seats, areas, 'staff'
record[SEQ] = write_log(KEYS[4], stamp, 'move', ARGV[4], changed_seats, changed_areas, {{hold_id, record}})
tally[1] = size
local packed = cmsgpack.pack(record)
redis.call('HSET', KEYS[2], 'h:' .. hold_id, packed, 'o:' .. holder, cmsgpack.pack(tally))
note_act(KEYS[2], act, hold_id, found[2], packed, record[SEQ], cmsgpack.pack({}))
return {'moved', record[SEQ], found[2], packed, now}
