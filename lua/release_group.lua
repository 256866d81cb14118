-- Gives back a holder's holds in several events of one group: all of them, or nothing. Also past their deadlines.
-- INCLUDE inventory
-- INCLUDE fairness
-- INCLUDE group
-- EACH event
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 skew_ms, 2 holder, 3 origin, 4 changes, 5 max_places
-- RETURN released, now_ms, seq… | refused, refusal… | too_many_places, max_places
-- RETURN in_checkout | expired | not_found | no_book | other_stamp, stamp
-- The words of the last line stand in refusals. A change has `stamp`, `hold`, and empty `seats` and `areas`.
local books, refusals = open_books(ARGV[4], ARGV[2], '', '')
if #refusals > 0 then return {'refused', unpack(refusals)} end
local now = server_time_ms(ARGV[1])
for i, book in ipairs(books) do
  local record, refusal = own_active_hold(book.raw, ARGV[2], nil)
  if refusal then refusals[#refusals + 1] = {i, unpack(refusal)} end
  book.record = record
end
if #refusals > 0 then return {'refused', unpack(refusals)} end
local refusal = places_refusal(books, ARGV[5])
if refusal then return refusal end

-- Nothing below refuses.
local answer, request = {'released', now}, {digest = '', origin = ARGV[3]}
for _, book in ipairs(books) do
  put_hold(book, book.record, 'release', request)
  answer[#answer + 1] = book.record[SEQ]
end
return answer
