-- Tells whether what staff noted to hold was taken; where it was not, it never will be by that note, nor by an older one.
-- INCLUDE inventory
-- KEYS 1 book
-- ARGV 1 stamp, 2 hold_id, 3 note
-- RETURN found, record | nothing | no_book | other_stamp, stamp
-- `note` is that of hold_for_customer; `noted` in the book is the latest that was settled as not taken. A call of another
-- epoch is refused by that.
local stamp, note = ARGV[1], ARGV[3]
local found = redis.call('HMGET', KEYS[1], 'stamp', 'h:' .. ARGV[2], 'noted')
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end
if found[2] and cmsgpack.unpack(found[2])[STATE] ~= 'gone' then return {'found', found[2]} end
if tonumber(note) > tonumber(found[3] or 0) then redis.call('HSET', KEYS[1], 'noted', note) end
return {'nothing'}
