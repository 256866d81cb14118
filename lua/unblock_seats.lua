-- Puts blocked seats on sale again. What is not blocked is answered and left alone.
-- INCLUDE inventory
-- KEYS 1 seats, 2 book, 3 log
-- ARGV 1 stamp, 2 skew_ms, 3 origin, 4 seats
-- RETURN unblocked, seq, refused_seats | no_book | other_stamp, stamp
-- `seats` {index, …} sorted, in msgpack. Places of areas: see block_seats.
local stamp, seats = ARGV[1], cmsgpack.unpack(ARGV[4])
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), stamp)
if refusal then return refusal end
local blocked, refused = split_by_state(KEYS[1], runs_of(seats, 1), {[HOUSE] = true, [KILL] = true})
local changed_seats = {}
set_seats(KEYS[1], runs_of(blocked, 1), AVAILABLE, changed_seats)
local seq = write_log(KEYS[3], stamp, 'unblock', ARGV[3], changed_seats, {}, {})
return {'unblocked', seq, cmsgpack.pack(refused)}
