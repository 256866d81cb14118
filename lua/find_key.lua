-- Looks for what a request's key was applied to before. Changes nothing.
-- INCLUDE inventory
-- KEYS 1 book
-- ARGV 1 stamp, 2 skew_ms, 3 digest, 4 request_hash, 5 opens_ms
-- RETURN same, seq, record, now_ms, hold_id | new | not_open, opens_ms | mismatch | expired | not_found
-- RETURN no_book | other_stamp, stamp
-- For a request whose seats the server chooses: where it finds none any more, its retry must find what it was granted.
local found = redis.call('HMGET', KEYS[1], 'stamp', 'k:' .. ARGV[3])
local refusal = stamp_refusal(found[1], ARGV[1]) or answer_of_key(KEYS[1], found[2], ARGV[4], ARGV[2])
if refusal then return refusal end
if server_time_ms(ARGV[2]) < tonumber(ARGV[5]) then return {'not_open', ARGV[5]} end
return {'new'}
