-- Puts a hold's deadline off once more, never beyond its lifetime.
-- INCLUDE inventory
-- KEYS 1 book, 2 deadlines, 3 log
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 hold_id, 5 digest, 6 request_hash, 7 origin, 8 max_extensions, 9 hold_ms
-- ARGV 10 max_keys
-- RETURN extended, seq, record, now_ms | same, seq, record, now_ms, hold_id | limit, max_extensions | too_many_keys, max_keys
-- RETURN mismatch | expired | not_found | in_checkout | no_book | other_stamp, stamp
local stamp, hold_id, digest = ARGV[1], ARGV[4], ARGV[5]
local found = redis.call('HMGET', KEYS[1], 'stamp', 'h:' .. hold_id, 'k:' .. digest)
local refusal = stamp_refusal(found[1], stamp) or answer_of_key(KEYS[1], found[3], ARGV[6], ARGV[2])
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
local record, not_ours = own_active_hold(found[2], ARGV[3], now)
if not record then return not_ours end
local deadline = math.min(now + ARGV[9], record[LIFETIME])
if record[EXTENSIONS] >= tonumber(ARGV[8]) or deadline <= record[DEADLINE] then return {'limit', ARGV[8]} end
if digest ~= '' and #record[DIGESTS] >= tonumber(ARGV[10]) then return {'too_many_keys', ARGV[10]} end

-- Nothing below refuses.
record[DEADLINE], record[EXTENSIONS], record[REASON] = deadline, record[EXTENSIONS] + 1, 'own'
if digest ~= '' then table.insert(record[DIGESTS], digest) end
record[SEQ] = write_log(KEYS[3], stamp, 'extend', ARGV[7], {}, {}, {{hold_id, record}})
local packed = cmsgpack.pack(record)
redis.call('HSET', KEYS[1], 'h:' .. hold_id, packed)
if digest ~= '' then redis.call('HSET', KEYS[1], 'k:' .. digest, cmsgpack.pack({hold_id, ARGV[6]})) end
redis.call('ZADD', KEYS[2], deadline, hold_id)
return {'extended', record[SEQ], packed, now}
