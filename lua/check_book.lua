-- Looks whether every part of an event's inventory is there, and its log is not shorter than a reader has seen it.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 areas, 4 log
-- ARGV 1 stamp, 2 seat_count, 3 area_fields, 4 seq
-- RETURN whole | damaged | no_book | other_stamp, stamp
-- A damaged inventory's book is closed: whoever comes next adopts it.
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), ARGV[1])
if refusal then return refusal end
if seq_of_whole(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3], ARGV[4]) then return {'whole'} end
return {'damaged'}
