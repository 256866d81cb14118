-- One hold of a holder, as it is now.
-- INCLUDE inventory
-- KEYS 1 book
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 hold_id
-- RETURN hold, seq, record, now_ms | expired | not_found | no_book | other_stamp, stamp
local found = redis.call('HMGET', KEYS[1], 'stamp', 'h:' .. ARGV[4])
local refusal = stamp_refusal(found[1], ARGV[1])
if refusal then return refusal end
local record = found[2] and cmsgpack.unpack(found[2])
if not record or record[HOLDER] ~= ARGV[3] then return {'not_found'} end
if record[STATE] == 'gone' then return {record[REASON] == 'expired' and 'expired' or 'not_found'} end
return {'hold', record[SEQ], found[2], server_time_ms(ARGV[2])}
