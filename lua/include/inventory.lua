-- What the verbs share. Put before a script whose header says `INCLUDE inventory`.
-- A record is a msgpack array; inventory/records.py names the same positions.
local HOLDER, STATE, EXTENSIONS, BOOKING, SEATS, AREAS, REASON, DIGESTS, CHANNEL, DEADLINE, LIFETIME, CREATED, SEQ =
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
-- Behind these a hold that staff have just made may have {area, n, …}: of its places, those that the house kept back. They
-- are the hold's own business until PostgreSQL knows of it (docs/decisions/030), and no Python reads them here.
local LENT = 14
local AVAILABLE, HELD, SOLD, HOUSE, KILL = 0, 1, 2, 3, 4
local LOG_ENTRIES_MAX, TOMBSTONE_MS = 5000, 60000

local function server_time_ms(skew_ms)
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000) + skew_ms
end

-- The answer to a caller whose stamp (epoch:revision) is not the book's, or nil where they agree.
local function stamp_refusal(stored, stamp)
  if stored == stamp then return nil end
  if not stored then return {'no_book'} end
  return {'other_stamp', stored}
end

local function epoch_of(stamp) return string.match(stamp, '^%d+') end

-- Runs of sorted seats as {first, count, first, count, …}. `step` is 2 where each seat is followed by its type.
local function runs_of(seats, step)
  local runs, top = {}, 0
  for i = 1, #seats, step do
    if top > 0 and runs[top - 1] + runs[top] == seats[i] then
      runs[top] = runs[top] + 1
    else
      runs[top + 1], runs[top + 2] = seats[i], 1
      top = top + 2
    end
  end
  return runs
end

-- The bytes of seats that may be taken through `channel`: available ones that are open to all or the channel's own.
-- `also` is a state that staff take beside available, `other` a second channel.
local function for_sale(channel, also, other)
  local bytes = {}
  for _, number in ipairs({0, channel or 0, other or 0}) do
    bytes[8 * number + AVAILABLE], bytes[8 * number + (also or AVAILABLE)] = true, true
  end
  return bytes
end

-- The seats of `runs` whose byte is none of `bytes` (for_sale), in order, and what each run was found to have.
local function seats_in_the_way(key, runs, bytes)
  local taken, all_found = {}, {}
  for i = 1, #runs, 2 do
    local first, count = runs[i], runs[i + 1]
    local found = redis.call('GETRANGE', key, first, first + count - 1)
    all_found[#all_found + 1] = found
    for j = 1, count do
      if not bytes[string.byte(found, j) or 255] then taken[#taken + 1] = first + j - 1 end
    end
  end
  return taken, all_found
end

-- The seats for which the orphan rule refuses {seat, type, …}: they would be left with nobody free beside them.
-- `windows` are the seats around the wished ones (rising), side by side in standing order; `own` {seat, type, …} are those
-- of the hold to be replaced, and count as free. inventory/plan.py decides alike when it picks seats.
-- One function, so that a call of an event without the rule makes none of those inside.
local function left_alone(key, rule, windows, seats, own)
  local wished, freed, alone = {}, {}, {}
  -- The window that is looked at: whether it is `n` seats in order from the lowest one, and the bytes from there on.
  local window, whole, n, low, bytes

  local function seat_at(i) return whole and low + i - 1 or window[i] end

  -- Whether the i-th seat was free, is so with `own` given back, and stays so without the wished ones.
  local function look_at(i)
    if i < 1 or i > n then return false, false, false end
    local seat = seat_at(i)
    local was_free = (string.byte(bytes, seat - low + 1) or 255) % 8 == AVAILABLE
    local is_free = was_free or freed[seat]
    return was_free, is_free, is_free and not wished[seat]
  end

  -- Whether the i-th seat would be left alone, and the rule refuses that.
  local function is_left_alone(i)
    local was_free, _, stays_free = look_at(i)
    if not stays_free then return false end
    local before_was_free, _, before = look_at(i - 1)
    if before then return false end
    local behind_was_free, _, behind = look_at(i + 1)
    return not behind and (rule == 'strict' or not was_free or before_was_free or behind_was_free)
  end

  -- Whether `wanted` free seats side by side can be had in the window without leaving a single one.
  local function fits(wanted)
    local stretch = 0
    for i = 1, n + 1 do
      local _, is_free = look_at(i)
      if is_free then
        stretch = stretch + 1
      else
        if stretch == wanted or stretch >= wanted + 2 then return true end
        stretch = 0
      end
    end
    return false
  end

  for i = 1, #seats, 2 do wished[seats[i]] = true end
  for i = 1, #own, 2 do freed[own[i]] = true end
  for w = 1, #windows do
    window = windows[w]
    -- {first, last} rising stands for all between them, anything else for itself.
    whole = #window == 2 and window[1] < window[2]
    local places, high = {}, nil
    if whole then
      low, high = window[1], window[2]
      n = high - low + 1
      for i = 1, #seats, 2 do
        if seats[i] >= low and seats[i] <= high then places[#places + 1] = seats[i] - low + 1 end
      end
    else
      low, high, n = math.min(unpack(window)), math.max(unpack(window)), #window
      for i = 1, n do if wished[window[i]] then places[#places + 1] = i end end
    end
    bytes = redis.call('GETRANGE', key, low, high)
    local found, judged = {}, 0
    for _, i in ipairs(places) do
      if i - 1 > judged and is_left_alone(i - 1) then found[#found + 1] = seat_at(i - 1) end
      if is_left_alone(i + 1) then found[#found + 1] = seat_at(i + 1) end
      judged = i + 1
    end
    if #found > 0 and (rule == 'strict' or fits(#places)) then
      for _, seat in ipairs(found) do alone[#alone + 1] = seat end
    end
  end
  return alone
end

-- Notes one seat's new byte in {first, count, byte, …}.
local function note_byte(changed, seat, byte)
  local top = #changed
  if top > 0 and changed[top] == byte and changed[top - 2] + changed[top - 1] == seat then
    changed[top - 1] = changed[top - 1] + 1
  else
    changed[top + 1], changed[top + 2], changed[top + 3] = seat, 1, byte
  end
end

-- Gives the seats of `runs` a state, keeps their channel, and notes {first, count, byte, …} in `changed`. `found` is what
-- seats_in_the_way found them to have, nil where nobody looked.
local function set_seats(key, runs, state, changed, found)
  for i = 1, #runs, 2 do
    local first, count, new = runs[i], runs[i + 1], {}
    local old = found and found[(i + 1) / 2] or redis.call('GETRANGE', key, first, first + count - 1)
    for j = 1, #old do
      local byte = string.byte(old, j)
      byte = byte - byte % 8 + state
      new[j] = string.char(byte)
      note_byte(changed, first + j - 1, byte)
    end
    redis.call('SETRANGE', key, first, table.concat(new))
  end
end

-- Places per area of {area, type, n, …}, and the areas in order of first mention.
local function places_of(areas)
  local places, order = {}, {}
  for i = 1, #areas, 3 do
    if not places[areas[i]] then order[#order + 1] = areas[i] end
    places[areas[i]] = (places[areas[i]] or 0) + areas[i + 2]
  end
  return places, order
end

-- An area's allotments: {channel, places, taken, …}, of the channels that have places or took some. What a channel
-- took counts as its own places first, so that it keeps `places` less `taken` of the area's available ones.
local function allotments_of(raw) return raw and raw ~= '' and cmsgpack.unpack(raw) or {} end

-- The available places that allotments keep from a caller of `channel`.
local function kept_from(channel, allotments)
  local kept = 0
  for i = 1, #allotments, 3 do
    if allotments[i] ~= channel then kept = kept + math.max(0, allotments[i + 1] - allotments[i + 2]) end
  end
  return kept
end

-- Sets a channel's places in an area's allotments, or adds to what it took (each may be nil).
local function count_allotment(allotments, channel, places, more)
  local at = 1
  while at <= #allotments and allotments[at] ~= channel do at = at + 3 end
  places = places or allotments[at + 1] or 0
  local taken = (allotments[at + 2] or 0) + (more or 0)
  allotments[at], allotments[at + 1], allotments[at + 2] = channel, places, taken
  if places == 0 and taken == 0 then for _ = 1, 3 do table.remove(allotments, at) end end
end

-- The same, written.
local function set_allotment(key, area, allotments, channel, places, more)
  count_allotment(allotments, channel, places, more)
  redis.call('HSET', key, area .. '/allotments', #allotments > 0 and cmsgpack.pack(allotments) or '')
end

-- {area, available to the channel, …} of the areas with too little room; `own` counts as free. An unknown area has -1.
local function areas_in_the_way(key, areas, own, channel)
  if #areas == 0 then return {} end
  local full, fields, places, order = {}, {}, places_of(areas)
  for i, area in ipairs(order) do fields[2 * i - 1], fields[2 * i] = area .. '/available', area .. '/allotments' end
  local found = redis.call('HMGET', key, unpack(fields))
  for i, area in ipairs(order) do
    local counted = found[2 * i - 1]
    local available = counted and counted - kept_from(channel, allotments_of(found[2 * i])) or -1
    if not counted or available + (own[area] or 0) < places[area] then
      full[#full + 1], full[#full + 2] = area, available
    end
  end
  return full
end

local PLACE_OF = {available = 1, held = 2, sold = 3, blocked = 4}

-- Notes {area, available, held, sold, blocked, allotments, …} in `changed`, the areas' as they are now; answers where.
local function note_areas(key, names, changed)
  local fields, at = {}, {}
  for _, area in ipairs(names) do
    local top = #fields
    fields[top + 1], fields[top + 2], fields[top + 3] = area .. '/available', area .. '/held', area .. '/sold'
    fields[top + 4], fields[top + 5] = area .. '/blocked', area .. '/allotments'
  end
  local found = redis.call('HMGET', key, unpack(fields))
  for i, area in ipairs(names) do
    local place = 1
    while place <= #changed and changed[place] ~= area do place = place + 6 end
    changed[place], at[i] = area, place
    for j = 1, 4 do changed[place + j] = tonumber(found[5 * i - 5 + j] or 0) end
    changed[place + 5] = allotments_of(found[5 * i])
  end
  return at
end

-- Moves places, each three of `…` being {area, type, n, …} and their states before and after, and notes the areas in
-- `changed`. `channel` is that of the hold which takes or gives them, whoever had or gets them; 0 and nil are not counted.
local function move_areas(key, changed, channel, ...)
  local moves, order, at, fields = {...}, {}, {}, {}
  for m = 1, #moves, 3 do
    for i = 1, #moves[m], 3 do
      local area = moves[m][i]
      if not at[area] then order[#order + 1], at[area] = area, 0 end
    end
  end
  if #order == 0 then return end
  for i, place in ipairs(note_areas(key, order, changed)) do at[order[i]] = place end
  local states = {}
  for m = 1, #moves, 3 do
    local areas, from, to = moves[m], moves[m + 1], moves[m + 2]
    states[from], states[to] = true, true
    for i = 1, #areas, 3 do
      local place, n = at[areas[i]], areas[i + 2]
      local out, into = place + PLACE_OF[from], place + PLACE_OF[to]
      changed[out], changed[into] = changed[out] - n, changed[into] + n
      if (channel or 0) ~= 0 then count_allotment(changed[place + 5], channel, nil, to == 'held' and n or -n) end
    end
  end
  for _, area in ipairs(order) do
    for state in pairs(states) do
      fields[#fields + 1], fields[#fields + 2] = area .. '/' .. state, changed[at[area] + PLACE_OF[state]]
    end
    if (channel or 0) ~= 0 then
      local allotments = changed[at[area] + 5]
      fields[#fields + 1], fields[#fields + 2] = area .. '/allotments', #allotments > 0 and cmsgpack.pack(allotments) or ''
    end
  end
  redis.call('HSET', key, unpack(fields))
end

-- How many places of each area the house lends to staff who sell over its holds. `house` is {area, off_sale, kept, …}:
-- what PostgreSQL has blocked in all, and of that for the house. What is lent already, or killed, is not lent.
local function lent_by_house(key, house)
  local lent = {}
  for i = 1, #house, 3 do
    local blocked = tonumber(redis.call('HGET', key, house[i] .. '/blocked') or 0)
    lent[house[i]] = math.max(0, math.min(house[i + 2], blocked - (house[i + 1] - house[i + 2])))
  end
  return lent
end

-- How many of the places that a hold was lent, and has yet, PostgreSQL has still as blocked: whoever blocked or unblocked
-- since has set anew what is. As {area, n, …}.
local function still_lent(key, record, house)
  local still, off_sale, lent, places = {}, {}, record[LENT] or {}, places_of(record[AREAS])
  for i = 1, #house, 3 do off_sale[house[i]] = house[i + 1] end
  for i = 1, #lent, 2 do
    local blocked = tonumber(redis.call('HGET', key, lent[i] .. '/blocked') or 0)
    local n = math.min(lent[i + 1], places[lent[i]] or 0, (off_sale[lent[i]] or 0) - blocked)
    if n > 0 then still[#still + 1], still[#still + 2] = lent[i], n end
  end
  return still
end

-- Takes places for a hold of staff: what is for sale through `channel` first, and what is missing from the house.
-- Answers the latter, {area, n, …}. Refuses nothing: see areas_in_the_way.
local function take_areas(key, areas, channel, changed)
  local lent, places, order = {}, places_of(areas)
  for _, area in ipairs(order) do
    local found = redis.call('HMGET', key, area .. '/available', area .. '/allotments')
    local open = math.max(0, found[1] - kept_from(channel, allotments_of(found[2])))
    local missing = math.max(0, places[area] - open)
    move_areas(key, changed, channel, {area, '', places[area] - missing}, 'available', 'held')
    if missing > 0 then
      move_areas(key, changed, channel, {area, '', missing}, 'blocked', 'held')
      lent[#lent + 1], lent[#lent + 2] = area, missing
    end
  end
  return lent
end

local function size_of(seats, areas)
  local n = #seats / 2
  for i = 3, #areas, 3 do n = n + areas[i] end
  return n
end

-- A holder's tally: {places held or bought, hold id, …}.
local function tally_of(raw) return raw and cmsgpack.unpack(raw) or {0} end

local function without(list, item)
  local kept = {list[1]}
  for i = 2, #list do if list[i] ~= item then kept[#kept + 1] = list[i] end end
  return kept
end

-- The log is cut now and then, not with each entry: to look where it begins costs as much as to add to it.
local CUT_EVERY = 64

-- Appends a packed entry to the log; answers its seq.
local function log_packed(key, stamp, entry)
  local log_id = epoch_of(stamp) .. '-*'
  local seq = string.sub(redis.call('XADD', key, log_id, 'e', entry), #log_id) + 0
  if seq % CUT_EVERY == 0 then redis.call('XTRIM', key, 'MAXLEN', '~', LOG_ENTRIES_MAX) end
  return seq
end

-- One log entry: {act, origin, {first, count, byte, …}, {area, 4 counts, allotments, …}, {{hold id, record}, …}}.
-- Answers its seq; a record inside has the seq of its entry, which Python takes from the entry's id.
local function write_log(key, stamp, act, origin, seats, areas, holds)
  return log_packed(key, stamp, cmsgpack.pack({act, origin, seats, areas, holds}))
end

-- Ends a hold: its seats and places become available, its record a tombstone.
local function end_hold(seats_key, areas_key, record, from, reason, changed_seats, changed_areas)
  set_seats(seats_key, runs_of(record[SEATS], 2), AVAILABLE, changed_seats)
  move_areas(areas_key, changed_areas, record[CHANNEL], record[AREAS], from, 'available')
  record[STATE], record[REASON], record[SEATS], record[AREAS], record[LENT] = 'gone', reason, {}, {}, nil
end

-- A hold that its holder wants to change: the record, or nil and the refusal.
local function own_active_hold(raw, holder, now)
  if not raw then return nil, {'not_found'} end
  -- Behind its first byte a record is values one after the other: as a table it would grow, and move, with each.
  local record = {cmsgpack.unpack(string.sub(raw, 2))}
  if record[HOLDER] ~= holder then return nil, {'not_found'} end
  if record[STATE] == 'gone' then return nil, {record[REASON] == 'expired' and 'expired' or 'not_found'} end
  if record[STATE] == 'checkout' then return nil, {'in_checkout'} end
  if record[STATE] == 'sold' then return nil, {'not_found'} end
  if now and record[DEADLINE] <= now then return nil, {'expired'} end
  return record
end

-- The answer to a request whose key was applied before, or nil for a new key. A marker is {hold id, request hash}.
local function answer_of_key(book, marker_raw, request_hash, skew_ms)
  if not marker_raw then return nil end
  local marker = cmsgpack.unpack(marker_raw)
  if marker[2] ~= request_hash then return {'mismatch'} end
  local raw = redis.call('HGET', book, 'h:' .. marker[1])
  local record = raw and cmsgpack.unpack(raw)
  if not record or record[STATE] == 'gone' then
    return {record and record[REASON] == 'expired' and 'expired' or 'not_found'}
  end
  return {'same', record[SEQ], raw, server_time_ms(skew_ms), marker[1]}
end

-- A holder without holds or purchases leaves no tally behind.
local function write_tally(book, holder, tally)
  if #tally == 1 then
    redis.call('HDEL', book, 'o:' .. holder)
  else
    redis.call('HSET', book, 'o:' .. holder, cmsgpack.pack(tally))
  end
end

-- Ends a hold outside its holder's own doing: seats, tally and tombstone. The caller writes log and record.
local function end_for_good(keys, record, hold_id, reason, now, changed_seats, changed_areas)
  local tally = without(tally_of(redis.call('HGET', keys[2], 'o:' .. record[HOLDER])), hold_id)
  tally[1] = tally[1] - size_of(record[SEATS], record[AREAS])
  end_hold(keys[1], keys[4], record, 'held', reason, changed_seats, changed_areas)
  write_tally(keys[2], record[HOLDER], tally)
  redis.call('ZADD', keys[3], math.max(record[LIFETIME], now) + TOMBSTONE_MS, hold_id)
end

-- The same for what staff took and PostgreSQL may not know of: as if it had never been. Of its seats those of `house`
-- (rising) are the house's again, and places that it was lent are blocked again, as far as PostgreSQL has them (`blocks`,
-- see still_lent). All else is for sale. Answers {area, n, …}, the places that went back.
local function end_for_house(keys, record, hold_id, now, house, blocks, changed_seats, changed_areas)
  local own, kept = {}, {}
  for i = 1, #record[SEATS], 2 do own[record[SEATS][i]] = true end
  for _, seat in ipairs(house) do if own[seat] then kept[#kept + 1] = seat end end
  local lent = still_lent(keys[4], record, blocks)
  end_for_good(keys, record, hold_id, 'staff', now, changed_seats, changed_areas)
  set_seats(keys[1], runs_of(kept, 1), HOUSE, changed_seats)
  local back = {}
  for i = 1, #lent, 2 do back[#back + 1], back[#back + 2], back[#back + 3] = lent[i], '', lent[i + 1] end
  move_areas(keys[4], changed_areas, nil, back, 'available', 'blocked')
  return lent
end

-- Removes a tombstone and the markers of the keys that were applied to its hold.
local function forget(book, hold_id, record)
  if record and record[STATE] ~= 'gone' then return end
  redis.call('HDEL', book, 'h:' .. hold_id)
  for _, digest in ipairs(record and record[DIGESTS] or {}) do redis.call('HDEL', book, 'k:' .. digest) end
end

-- Two sorted lists {seat, type, …} as one.
local function merge_seats(a, b)
  local merged, i, j = {}, 1, 1
  while i <= #a or j <= #b do
    local from_a = j > #b or i <= #a and a[i] < b[j]
    local list, at = from_a and a or b, from_a and i or j
    merged[#merged + 1] = list[at]
    merged[#merged + 1] = list[at + 1]
    if from_a then i = i + 2 else j = j + 2 end
  end
  return merged
end

-- Adds {area, type, n, …} to such a list.
local function merge_areas(into, more)
  for i = 1, #more, 3 do
    local found
    for j = 1, #into, 3 do
      if into[j] == more[i] and into[j + 1] == more[i + 1] then
        into[j + 2], found = into[j + 2] + more[i + 2], true
      end
    end
    if not found then for k = 0, 2 do into[#into + 1] = more[i + k] end end
  end
end

-- The {seat, type, …} of `seats` whose seat is not in `others`.
local function seats_not_in(seats, others)
  if #seats == 0 or #others == 0 then return seats end
  local known, rest = {}, {}
  for i = 1, #others, 2 do known[others[i]] = true end
  for i = 1, #seats, 2 do
    if not known[seats[i]] then rest[#rest + 1], rest[#rest + 2] = seats[i], seats[i + 1] end
  end
  return rest
end

-- What is left of {seat, type, …} without `out` {seat, …}, and which of `out` were not there.
local function take_out_seats(seats, out)
  local wanted, left, missing = {}, {}, {}
  for _, seat in ipairs(out) do wanted[seat] = true end
  for i = 1, #seats, 2 do
    if wanted[seats[i]] then
      wanted[seats[i]] = nil
    else
      left[#left + 1] = seats[i]
      left[#left + 1] = seats[i + 1]
    end
  end
  for _, seat in ipairs(out) do if wanted[seat] then missing[#missing + 1] = seat end end
  return left, missing
end

-- What is left of {area, type, n, …} without `out`, what goes (with its type), and the areas that do not have it.
-- A type of '' stands for the only type held of that area; where several are held it is refused.
local function take_out_areas(areas, out)
  local left, gone, wrong = {}, {}, {}
  for i = 1, #areas do left[i] = areas[i] end
  for i = 1, #out, 3 do
    local at, matches = nil, 0
    for j = 1, #left, 3 do
      if left[j] == out[i] and (out[i + 1] == '' or left[j + 1] == out[i + 1]) then at, matches = j, matches + 1 end
    end
    if matches ~= 1 or left[at + 2] < out[i + 2] then
      wrong[#wrong + 1] = out[i]
    else
      left[at + 2] = left[at + 2] - out[i + 2]
      for _, value in ipairs({out[i], left[at + 1], out[i + 2]}) do gone[#gone + 1] = value end
    end
  end
  local kept = {}
  for i = 1, #left, 3 do
    if left[i + 2] > 0 then for k = 0, 2 do kept[#kept + 1] = left[i + k] end end
  end
  return kept, gone, wrong
end

-- Parts seats by whether their state is one of `states`.
local function split_by_state(key, runs, states)
  local inside, outside = {}, {}
  for i = 1, #runs, 2 do
    local first, count = runs[i], runs[i + 1]
    local bytes = redis.call('GETRANGE', key, first, first + count - 1)
    for j = 1, count do
      local list = states[(string.byte(bytes, j) or 255) % 8] and inside or outside
      list[#list + 1] = first + j - 1
    end
  end
  return inside, outside
end

-- The seq of the latest entry where every part of the inventory is there, else nil: Redis may lose a single key. Then
-- the book is closed (its stamp goes), so that adopt follows.
local function seq_of_whole(seats, book, areas, log, stamp, seat_count, area_fields, least_seq)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  local epoch, seq = string.match(last and last[1] or '0-0', '^(%d+)-(%d+)$')
  if redis.call('STRLEN', seats) == tonumber(seat_count) and redis.call('HLEN', areas) == tonumber(area_fields)
      and epoch == epoch_of(stamp) and tonumber(seq) >= tonumber(least_seq) then
    return tonumber(seq)
  end
  redis.call('HDEL', book, 'stamp')
  return nil
end
