-- What the verbs over several events of one group share. Put after `inventory`, where a header says `INCLUDE group`.
-- KEYS are the five keys of each event, one event after the other. A change is what is asked of one event, a map:
-- inventory/groups.py names its fields. A refusal is {place of its event, word, …}; all that refuse are named.

-- Each event's book, in order: keys, change, tally, marker of the key, raw record, what was lost, what the address has
-- ('' is no address that counts); and who bears another stamp.
local function open_books(packed, holder, digest, address)
  local books, others = {}, {}
  local shared = {'stamp', 'o:' .. holder, 'k:' .. digest, 'x:' .. holder, 'a:' .. address}
  for i, change in ipairs(cmsgpack.unpack(packed)) do
    local keys = {unpack(KEYS, 5 * i - 4, 5 * i)}
    local found = redis.call('HMGET', keys[2], 'h:' .. change.hold, unpack(shared))
    local refusal = stamp_refusal(found[2], change.stamp)
    if refusal then others[#others + 1] = {i, unpack(refusal)} end
    books[i] = {keys = keys, change = change, raw = found[1], tally = tally_of(found[3]), marker = found[4],
      lost = found[5], there = address ~= '' and {field = 'a:' .. address, raw = found[6]}}
  end
  return books, others
end

-- The answer to a request that was applied before: what each event has of the holder's hold now, {seq, record, …} in the
-- events' order, '' for one that is gone, or another's by now (hand_over.lua); where none is there, that the last one went.
local function answer_of_holds(books, holder, now)
  local holds, any, reason = {}, false, 'own'
  for i, book in ipairs(books) do
    local record = book.raw and cmsgpack.unpack(book.raw)
    holds[2 * i - 1], holds[2 * i] = record and record[SEQ] or 0, ''
    if record and record[HOLDER] == holder and record[STATE] ~= 'gone' then
      holds[2 * i], any = book.raw, true
    elseif record and record[HOLDER] == holder then
      reason = record[REASON]
    end
  end
  if not any then return {reason == 'expired' and 'expired' or 'not_found'} end
  return {'same', now, unpack(holds)}
end

-- The answer to a request whose key was applied before, in any of its events (an adopt forgets keys), or nil.
local function answer_of_group_key(books, holder, request_hash, now)
  local applied = false
  for _, book in ipairs(books) do
    if book.marker then
      if cmsgpack.unpack(book.marker)[2] ~= request_hash then return {'mismatch'} end
      applied = true
    end
  end
  if applied then return answer_of_holds(books, holder, now) end
end

-- The answer to a request that has made one of its new holds, or nil: only this holder's key makes their ids, and the
-- key itself was forgotten by an adopt. Nothing may be written in their place, though they are gone, or another's by now.
local function answer_of_ids(books, holder, now)
  for _, book in ipairs(books) do
    if book.raw and not book.change.is_there then return answer_of_holds(books, holder, now) end
  end
end

-- Why an event does not grant what its change wishes, or nil. `own` is the record whose place it takes, or nil. The book
-- has then the runs of the seats that are not his yet, and what they were found to have.
local function wish_refusal(book, own, now)
  local change, keys = book.change, book.keys
  local own_seats = own and own[SEATS] or {}
  local channel = own and own[CHANNEL] or change.channel
  if now < change.opens_ms then return {'not_open', change.opens_ms} end
  local places, own_places = size_of(change.seats, change.areas), own and size_of(own_seats, own[AREAS]) or 0
  if book.tally[1] - own_places + places > change.max_seats then return {'limit', change.max_seats} end
  if not own and #book.tally - 1 >= change.max_holds then return {'too_many_holds', change.max_holds} end
  -- What he has is his, though he lost it once: another may have signed in to him with it.
  local fresh = seats_not_in(change.seats, own_seats)
  local unfair = not own and cooling_refusal(book.lost, now) or barred_refusal(book.lost, fresh, now)
  if unfair then return unfair end
  if #fresh > 0 then
    book.fresh_runs = runs_of(fresh, 2)
    local taken, found = seats_in_the_way(keys[1], book.fresh_runs, for_sale(channel))
    book.fresh_found = found
    if #taken > 0 then return {'taken', unpack(taken)} end
  end
  local full = areas_in_the_way(keys[4], change.areas, own and places_of(own[AREAS]) or {}, channel)
  if #full > 0 then return {'full', unpack(full)} end
  if book.there and places > own_places then
    local many, there = address_judged(
      keys[2], book.there.raw, change.hold, places, change.address_holds, change.address_seats)
    if many then return many end
    book.there.tally = there
  end
  if change.orphan_rule == 'off' or #change.seats == 0 then return nil end
  local alone = left_alone(keys[1], change.orphan_rule, change.windows, change.seats, own_seats)
  if #alone > 0 then return {'orphan', unpack(alone)} end
end

-- Why holds of so many places are not changed in one step, or nil: some may have been made one by one.
local function places_refusal(books, most)
  local places = 0
  for _, book in ipairs(books) do
    if book.record then places = places + size_of(book.record[SEATS], book.record[AREAS]) end
  end
  if places > tonumber(most) then return {'too_many_places', most} end
end

-- A hold of nothing yet, in the order of its positions: booking, seats, areas, reason and digests are none yet.
local function new_record(holder, deadline, lifetime, extensions, now, channel)
  return {holder, 'active', extensions, '', {}, {}, 'own', {}, channel, deadline, lifetime, now, 0}
end

-- Writes what a hold of an event has become: log, record, deadline, the marker of the key, and the holder's tally (nil: it
-- stays what it is). The entry is write_log's, but the record is packed once for it and the book: its seq comes last.
local function write_hold(book, record, act, request, changed_seats, changed_areas, tally, due)
  local keys, hold_id, digest = book.keys, book.change.hold, request.digest
  if digest ~= '' then table.insert(record[DIGESTS], digest) end
  local packed = '\157' .. cmsgpack.pack(unpack(record, 1, SEQ - 1))
  local entry = '\149' .. cmsgpack.pack(act, request.origin, changed_seats, changed_areas)
    .. '\145\146' .. cmsgpack.pack(hold_id) .. packed .. cmsgpack.pack(record[SEQ])
  record[SEQ] = log_packed(keys[5], book.change.stamp, entry)
  book.raw = packed .. cmsgpack.pack(record[SEQ])
  local fields = {'h:' .. hold_id, book.raw}
  if digest ~= '' then fields[3], fields[4] = 'k:' .. digest, cmsgpack.pack({hold_id, request.hash}) end
  if book.there and book.there.tally then
    fields[#fields + 1], fields[#fields + 2] = book.there.field, book.there.tally
  end
  if tally and #tally > 1 then
    fields[#fields + 1], fields[#fields + 2] = 'o:' .. record[HOLDER], cmsgpack.pack(tally)
  elseif tally then
    write_tally(keys[2], record[HOLDER], tally)
  end
  redis.call('HSET', keys[2], unpack(fields))
  redis.call('ZADD', keys[3], due, hold_id)
  if record[STATE] == 'gone' then book.raw = '' end
  book.seq = record[SEQ]
end

-- What was written, as `answer_of_holds` tells it.
local function written(books)
  local holds = {}
  for i, book in ipairs(books) do holds[2 * i - 1], holds[2 * i] = book.seq, book.raw end
  return unpack(holds)
end

-- Gives a hold of an event the contents that its change wishes; with none it is gone.
local function put_hold(book, record, act, request)
  local keys, changed_seats, changed_areas = book.keys, {}, {}
  local seats, areas, tally, due = book.change.seats, book.change.areas, book.tally, record[DEADLINE]
  tally[1] = tally[1] - size_of(record[SEATS], record[AREAS]) + size_of(seats, areas)
  if #record[SEATS] + #record[AREAS] == 0 then tally[#tally + 1] = book.change.hold end
  set_seats(keys[1], runs_of(seats_not_in(record[SEATS], seats), 2), AVAILABLE, changed_seats)
  if book.fresh_runs then set_seats(keys[1], book.fresh_runs, HELD, changed_seats, book.fresh_found) end
  move_areas(keys[4], changed_areas, record[CHANNEL], record[AREAS], 'held', 'available', areas, 'available', 'held')
  record[SEATS], record[AREAS], record[REASON] = seats, areas, 'own'
  if #seats + #areas == 0 then
    record[STATE], tally, due = 'gone', without(tally, book.change.hold), record[LIFETIME] + TOMBSTONE_MS
  end
  write_hold(book, record, act, request, changed_seats, changed_areas, tally, due)
end
