-- Takes seats and area places in several events of one group for a holder: all of them in every event, or nothing.
-- INCLUDE inventory
-- INCLUDE fairness
-- INCLUDE group
-- EACH event
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 skew_ms, 2 holder, 3 digest, 4 request_hash, 5 origin, 6 changes, 7 address
-- RETURN held, now_ms, seq, record… | same, now_ms, seq, record… | mismatch | expired | not_found | refused, refusal…
-- RETURN taken, seat… | full, area, available… | limit, max_seats | too_many_holds, max_holds | not_open, opens_ms
-- RETURN cooling, wait_ms | barred, wait_ms, seat… | address_limit, most | orphan, seat…
-- RETURN no_book | other_stamp, stamp
-- The words of the last lines stand in refusals. A change has `stamp`, `hold` (the new hold's id), `opens_ms`,
-- `max_seats`, `max_holds`, `address_holds`, `address_seats`, `hold_ms`, `lifetime_ms`, `orphan_rule`, `windows`,
-- `channel`, `seats` and `areas` as in hold_seats.lua.
local holder, request = ARGV[2], {digest = ARGV[3], hash = ARGV[4], origin = ARGV[5]}
local books, refusals = open_books(ARGV[6], holder, request.digest, ARGV[7])
if #refusals > 0 then return {'refused', unpack(refusals)} end
local now = server_time_ms(ARGV[1])
local known = answer_of_group_key(books, holder, request.hash, now) or answer_of_ids(books, holder, now)
if known then return known end
for i, book in ipairs(books) do
  local refusal = wish_refusal(book, nil, now)
  if refusal then refusals[#refusals + 1] = {i, unpack(refusal)} end
end
if #refusals > 0 then return {'refused', unpack(refusals)} end

-- Nothing below refuses.
for _, book in ipairs(books) do
  local lifetime = now + book.change.lifetime_ms
  local deadline = math.min(now + book.change.hold_ms, lifetime)
  put_hold(book, new_record(holder, deadline, lifetime, 0, now, book.change.channel), 'hold', request)
end
return {'held', now, written(books)}
