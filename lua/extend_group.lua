-- Puts off the deadlines of a holder's holds in several events of one group: all of them, or none.
-- INCLUDE inventory
-- INCLUDE fairness
-- INCLUDE group
-- EACH event
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 skew_ms, 2 holder, 3 digest, 4 request_hash, 5 origin, 6 changes, 7 max_keys
-- RETURN extended, now_ms, seq, record… | same, now_ms, seq, record… | mismatch | expired | not_found | refused, refusal…
-- RETURN limit, max_extensions | too_many_keys, max_keys | in_checkout | no_book | other_stamp, stamp
-- The words of the last line, expired and not_found stand in refusals, too. A change has `stamp`, `hold`,
-- `max_extensions` and `hold_ms`.
local holder, request = ARGV[2], {digest = ARGV[3], hash = ARGV[4], origin = ARGV[5]}
local books, refusals = open_books(ARGV[6], holder, request.digest, '')
if #refusals > 0 then return {'refused', unpack(refusals)} end
local now = server_time_ms(ARGV[1])
local known = answer_of_group_key(books, holder, request.hash, now)
if known then return known end
for i, book in ipairs(books) do
  local record, refusal = own_active_hold(book.raw, holder, now)
  if record then
    book.deadline = math.min(now + book.change.hold_ms, record[LIFETIME])
    if record[EXTENSIONS] >= book.change.max_extensions or book.deadline <= record[DEADLINE] then
      refusal = {'limit', book.change.max_extensions}
    elseif #record[DIGESTS] >= tonumber(ARGV[7]) then
      refusal = {'too_many_keys', ARGV[7]}
    end
  end
  if refusal then refusals[#refusals + 1] = {i, unpack(refusal)} end
  book.record = record
end
if #refusals > 0 then return {'refused', unpack(refusals)} end

-- Nothing below refuses.
for _, book in ipairs(books) do
  local record = book.record
  record[DEADLINE], record[EXTENSIONS], record[REASON] = book.deadline, record[EXTENSIONS] + 1, 'own'
  write_hold(book, record, 'extend', request, {}, {}, nil, book.deadline)
end
return {'extended', now, written(books)}
