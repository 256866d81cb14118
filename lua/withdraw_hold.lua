-- Ends anybody's hold on behalf of staff: its seats and places are for sale again, and its holder is told.
-- INCLUDE inventory
-- INCLUDE acts
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 hold_id, 4 origin, 5 until_ms, 6 house, 7 areas, 8 act
-- RETURN withdrawn, seq, before, now_ms, lent | expired | not_found | in_checkout | overtaken | no_book
-- RETURN other_stamp, stamp
-- `before` is the record as it was. Works past the deadline, and in every state of the sale. `house` and `areas` are those
-- of undo_taking: what PostgreSQL has as blocked stays so, whoever died while he took it; `lent` are the places of that.
-- `act` is that of move_hold.
local stamp, hold_id, act = ARGV[1], ARGV[3], tonumber(ARGV[8])
local found = redis.call('HMGET', KEYS[2], 'stamp', 'h:' .. hold_id, 'act')
local refusal = stamp_refusal(found[1], stamp) or overtaken_refusal(found[3], act)
if refusal then return refusal end
local holder = found[2] and cmsgpack.unpack(found[2])[HOLDER]
local record, not_active = own_active_hold(found[2], holder, nil)
if not record then return not_active end

-- Nothing below refuses.
local now = server_time_ms(ARGV[2])
-- A hold without an end has ended now: else its tombstone would stay for ever.
if record[LIFETIME] >= tonumber(ARGV[5]) then record[DEADLINE], record[LIFETIME] = now, now end
local house, blocks, changed_seats, changed_areas = cmsgpack.unpack(ARGV[6]), cmsgpack.unpack(ARGV[7]), {}, {}
local lent = cmsgpack.pack(end_for_house(KEYS, record, hold_id, now, house, blocks, changed_seats, changed_areas))
record[SEQ] = write_log(KEYS[5], stamp, 'withdraw', ARGV[4], changed_seats, changed_areas, {{hold_id, record}})
redis.call('HSET', KEYS[2], 'h:' .. hold_id, cmsgpack.pack(record))
note_act(KEYS[2], act, hold_id, found[2], '', record[SEQ], lent)
return {'withdrawn', record[SEQ], found[2], now, lent}
