-- A holder's holds that are not gone.
-- INCLUDE inventory
-- KEYS 1 book
-- ARGV 1 stamp, 2 skew_ms, 3 holder
-- RETURN holds, now_ms, hold_id, record… | no_book | other_stamp, stamp
local found = redis.call('HMGET', KEYS[1], 'stamp', 'o:' .. ARGV[3])
local refusal = stamp_refusal(found[1], ARGV[1])
if refusal then return refusal end
local answer = {'holds', server_time_ms(ARGV[2])}
local tally = tally_of(found[2])
for i = 2, #tally do
  answer[#answer + 1], answer[#answer + 2] = tally[i], redis.call('HGET', KEYS[1], 'h:' .. tally[i])
end
return answer
