-- Makes other seats and area places, in other events of the group or the same, of a holder's holds: all, or nothing.
-- INCLUDE inventory
-- INCLUDE fairness
-- INCLUDE group
-- EACH event
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 skew_ms, 2 holder, 3 digest, 4 request_hash, 5 origin, 6 changes, 7 max_keys, 8 address, 9 max_places
-- RETURN moved, now_ms, seq, record… | same, now_ms, seq, record… | mismatch | expired | not_found | refused, refusal…
-- RETURN taken, seat… | full, area, available… | limit, max_seats | too_many_holds, max_holds | not_open, opens_ms
-- RETURN cooling, wait_ms | barred, wait_ms, seat… | address_limit, most | orphan, seat…
-- RETURN too_many_keys, max_keys | too_many_places, max_places | in_checkout | no_book | other_stamp, stamp
-- The words of the last lines, expired and not_found stand in refusals, too. A change has the fields of
-- hold_group.lua and `is_there` (whether `hold` is to be moved, or made). A hold whose change wishes nothing ends; one that stays in
-- its event keeps its id, and new ones get the least time that any of the old ones had: moving never buys time.
local holder, request = ARGV[2], {digest = ARGV[3], hash = ARGV[4], origin = ARGV[5]}
local books, refusals = open_books(ARGV[6], holder, request.digest, ARGV[8])
if #refusals > 0 then return {'refused', unpack(refusals)} end
local now = server_time_ms(ARGV[1])
local known = answer_of_group_key(books, holder, request.hash, now) or answer_of_ids(books, holder, now)
if known then return known end
local deadline, lifetime, extensions = math.huge, math.huge, 0
for i, book in ipairs(books) do
  local change, record, refusal = book.change, nil, nil
  if change.is_there then
    record, refusal = own_active_hold(book.raw, holder, now)
    if record and #record[DIGESTS] >= tonumber(ARGV[7]) then refusal = {'too_many_keys', ARGV[7]} end
  end
  if not refusal and #change.seats + #change.areas > 0 then refusal = wish_refusal(book, record, now) end
  if refusal then refusals[#refusals + 1] = {i, unpack(refusal)} end
  if record then
    deadline, lifetime = math.min(deadline, record[DEADLINE]), math.min(lifetime, record[LIFETIME])
    extensions = math.max(extensions, record[EXTENSIONS])
  end
  book.record = record
end
if #refusals > 0 then return {'refused', unpack(refusals)} end
local refusal = places_refusal(books, ARGV[9])
if refusal then return refusal end

-- Nothing below refuses.
for _, book in ipairs(books) do
  local change, record = book.change, book.record
  local act = not record and 'hold' or #change.seats + #change.areas > 0 and 'replace' or 'release'
  if not record then
    local ends = math.min(lifetime, now + change.lifetime_ms)
    record = new_record(holder, math.min(deadline, now + change.hold_ms, ends), ends, extensions, now, change.channel)
  end
  put_hold(book, record, act, request)
end
return {'moved', now, written(books)}
