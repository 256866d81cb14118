-- Takes seats and area places for a holder: all of them, or nothing.
-- INCLUDE inventory
-- INCLUDE fairness
-- INCLUDE holding
-- SELDOM open_areas allotments_of kept_from count_allotment
-- SELDOM left_alone size_of answer_of_key cooling_refusal barred_refusal address_judged seats_of taken_of for_sale
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 rules, 3 hold
-- RULES 1 log_id, 2 skew_ms, 3 opens_ms, 4 max_seats, 5 max_holds, 6 hold_ms, 7 lifetime_ms, 8 orphan_rule
-- RULES 9 address_holds, 10 address_seats
-- HOLD 1 verb, 2 tally_field, 3 key_field, 4 hold_id, 5 origin, 6 name, 7 hold_field, 8 marker, 9 record, 10 size
-- HOLD 11 tally, 12 areas, 13 windows, 14 channel, 15 lost_field, 16 address_field, 17 run…
-- RETURN held+times+ending | same, seq, record, now_ms, hold_id | taken, seat… | full, area, available…
-- RETURN limit, max_seats | too_many_holds, max_holds | not_open, opens_ms | mismatch | expired | not_found
-- RETURN cooling, wait_ms | barred, wait_ms, seat… | address_limit, most | orphan, seat… | no_book | other_stamp, stamp
-- Rules and hold are msgpack values one after the other; what Redis need not look into is packed by itself. Fields of the
-- book are whole. `marker` is empty where the client sent no key. `name` is the hold's id; `record` its record but for
-- its times and seq, which the answer has; `size` counts seats and places; `tally` is the holder's where nothing else
-- is held; `areas` is {area, type, n, …} or empty; `run`s are first seat and count, rising. `orphan_rule` is off, strict
-- or lenient; `windows` is {{seat, …}, …}, the seats around the wished ones in standing order, {first, last} rising for
-- all between them; empty where the rule is off. `channel` is the number of the one that the holder buys through, 0
-- where it has nothing of its own: another one's seats are taken, to this one. `address_field` has a keyed hash of the
-- network address that counts, or is empty.
local act = {cmsgpack.unpack(ARGV[3])}
local found = redis.call('HMGET', KEYS[2], 'stamp', act[2], act[3], act[15], act[16])
local refusal = stamp_refusal(found[1], ARGV[1])
if refusal then return refusal end
local now, tally, there = server_time_ms(skew_ms), nil, nil
refusal, tally, there = hold(act, found[3], found[2], found[4], found[5], now)
if refusal then return refusal end

-- Nothing below refuses.
local lifetime = now + lifetime_ms
local deadline = math.min(now + hold_ms, lifetime)
local times = struct.pack('>BI8BI8BI8', 207, deadline, 207, lifetime, 207, now)
local record = act[9] .. times
local seq = append_entry(KEYS[5], '\149\164hold' .. act[5], '\145\146' .. act[6] .. record .. '\0')
local ending = struct.pack('>BI8', 207, seq)
local fields = {act[7], record .. ending, act[2], tally}
if act[8] ~= '' then fields[5], fields[6] = act[3], act[8] end
if there then fields[#fields + 1], fields[#fields + 2] = act[16], there end
redis.call('HSET', KEYS[2], unpack(fields))
redis.call('ZADD', KEYS[3], deadline, act[4])
return 'held' .. times .. ending
