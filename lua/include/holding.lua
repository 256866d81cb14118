-- What hold_seats, release_hold and hold_together share: the guards of a hold and of a release, and how what they
-- change is written. Put before a script whose header says `INCLUDE holding`.
--
-- These run for every click of a sale. A call of a C function, a new string, table or closure costs as much as a
-- hundred instructions of Lua, and a table in an answer as much as a Redis command: so Python hands over as bytes what
-- Redis need not look into, and an answer that grants is one string (docs/decisions/015-holds-wait-together.md).

-- What Python knows of the sale.
local log_id, skew_ms, opens_ms, max_seats, max_holds, hold_ms, lifetime_ms, orphan_rule, address_holds,
  address_seats = cmsgpack.unpack(ARGV[2])
-- What the call changed: seats as {first, count, byte, …}, and areas once an act names some.
local changed, ledger = {}, nil

-- Appends an entry to the log; answers its seq. `log_id` is 'epoch-*'. `entry` is what follows act and origin.
local function append_entry(key, start, holds)
  local entry = start .. cmsgpack.pack(changed) .. (ledger and ledger.write() or '\144') .. holds
  local seq = string.sub(redis.call('XADD', key, log_id, 'e', entry), #log_id) + 0
  if seq % CUT_EVERY == 0 then redis.call('XTRIM', key, 'MAXLEN', '~', LOG_ENTRIES_MAX) end
  return seq
end

-- The inventory bytes of the runs {first, count, …} that begin at `from`, one after the other. A seat beyond the map, or
-- lost with it, is 255.
local function bytes_of(key, runs, from)
  local bytes
  for i = from, #runs, 2 do
    local first, count = runs[i], runs[i + 1]
    local part = redis.call('GETRANGE', key, first, first + count - 1)
    if #part < count then part = part .. string.rep('\255', count - #part) end
    bytes = bytes and bytes .. part or part
  end
  return bytes or ''
end

-- Gives seats another state; they keep their channel. `bytes` is what they have, `alike` whether that is all the same
-- one, without a channel. What was lost with the map stays lost: written, all before it would read as free.
local function put_seats(key, runs, from, bytes, alike, state)
  local place = 0
  for i = from, #runs, 2 do
    local first, count = runs[i], runs[i + 1]
    if alike then
      redis.call('SETRANGE', key, first, string.rep(state == HELD and '\1' or '\0', count))
      local top = #changed
      changed[top + 1], changed[top + 2], changed[top + 3] = first, count, state
    else
      local new = {}
      for j = 1, count do
        local byte = string.byte(bytes, place + j)
        if byte == 255 then break end
        byte = byte - byte % 8 + state
        new[j] = string.char(byte)
        note_byte(changed, first + j - 1, byte)
      end
      redis.call('SETRANGE', key, first, table.concat(new))
      place = place + count
    end
  end
end

-- The seats of the runs, whose inventory bytes are `bytes`, that cannot be taken through `channel`, in order.
local function taken_of(runs, from, bytes, channel)
  local taken, place, open = {}, 0, for_sale(channel)
  for i = from, #runs, 2 do
    for seat = runs[i], runs[i] + runs[i + 1] - 1 do
      place = place + 1
      if not open[string.byte(bytes, place)] then taken[#taken + 1] = seat end
    end
  end
  return taken
end

-- The areas that a call looks at: their counts are read when first asked for, and what moved is written at once.
-- One function, so that a call without areas makes none of those inside.
local function open_areas(key)
  local names, found, moved = {'/available', '/held', '/sold', '/blocked', '/allotments'}, {}, {}

  -- An area's {available, held, sold, blocked, allotments}; unknown it has -1 available.
  local function counts_of(area)
    if not found[area] then
      local fields = {}
      for i = 1, 5 do fields[i] = area .. names[i] end
      local counts = redis.call('HMGET', key, unpack(fields))
      for i = 1, 4 do counts[i] = tonumber(counts[i] or -1) end
      counts[5] = allotments_of(counts[5])
      found[area] = counts
    end
    return found[area]
  end

  -- {area, available to the channel, …} of the areas with too little room for {area, type, n, …}.
  local function full(areas, channel)
    local wanted, short = {}, {}
    for i = 1, #areas, 3 do
      local area = areas[i]
      if not wanted[area] then wanted[#wanted + 1] = area end
      wanted[area] = (wanted[area] or 0) + areas[i + 2]
    end
    for _, area in ipairs(wanted) do
      local counts = counts_of(area)
      local available = counts[1] - kept_from(channel, counts[5])
      if available < wanted[area] then short[#short + 1], short[#short + 2] = area, available end
    end
    return short
  end

  -- Moves {area, type, n, …} of a hold of this channel from one state to another: 1 available, 2 held.
  local function move(areas, from, to, channel)
    for i = 1, #areas, 3 do
      local area, n = areas[i], areas[i + 2]
      local counts = counts_of(area)
      if not moved[area] then moved[area], moved[#moved + 1] = true, area end
      counts[from], counts[to] = counts[from] - n, counts[to] + n
      if channel ~= 0 then count_allotment(counts[5], channel, nil, from == 1 and n or -n) end
    end
  end

  -- Writes what moved; answers {area, 4 counts, allotments, …} of a log entry, packed.
  local function write()
    local fields, noted = {}, {}
    for _, area in ipairs(moved) do
      local counts = found[area]
      noted[#noted + 1] = area
      for i = 1, 5 do
        fields[#fields + 1], noted[#noted + 1] = area .. names[i], counts[i]
        fields[#fields + 1] = i < 5 and counts[i] or #counts[5] > 0 and cmsgpack.pack(counts[5]) or ''
      end
    end
    if #fields > 0 then redis.call('HSET', key, unpack(fields)) end
    return cmsgpack.pack(noted)
  end
  return {full = full, move = move, write = write}
end

-- The seats of the runs that begin at `from`, as {seat, '', …}.
local function seats_of(runs, from)
  local seats = {}
  for i = from, #runs, 2 do
    for seat = runs[i], runs[i] + runs[i + 1] - 1 do seats[#seats + 1], seats[#seats + 2] = seat, '' end
  end
  return seats
end

-- Takes what an act names, whose key has this `marker` (false: none), for a holder whose tally is `raw` (false: none),
-- who has `lost` seats (fairness.lua), from an address that has `there`; or answers the refusal. Answers nil, the holder's
-- new tally and the address's (nil: it is not counted) otherwise. The act's runs begin at its 17th value; `newer` as in
-- fairness.lua.
local function hold(act, marker, raw, lost, there, now, newer)
  if marker then return answer_of_key(KEYS[2], marker, cmsgpack.unpack(act[8])[2], skew_ms) end
  if now < opens_ms then return {'not_open', opens_ms} end
  local size, tally = act[10], nil
  if raw then
    tally = cmsgpack.unpack(raw)
    if tally[1] + size > max_seats then return {'limit', max_seats} end
    if #tally > max_holds then return {'too_many_holds', max_holds} end
  elseif size > max_seats then
    return {'limit', max_seats}
  end
  if lost then
    local unfair = cooling_refusal(lost, now) or barred_refusal(lost, seats_of(act, 17), now)
    if unfair then return unfair end
  end
  local bytes = bytes_of(KEYS[1], act, 17)
  local free = bytes == string.rep('\0', #bytes)
  if not free then
    local taken = taken_of(act, 17, bytes, act[14])
    if #taken > 0 then return {'taken', unpack(taken)} end
  end
  local areas = act[12]
  if areas ~= '' then
    areas, ledger = cmsgpack.unpack(areas), ledger or open_areas(KEYS[4])
    local full = ledger.full(areas, act[14])
    if #full > 0 then return {'full', unpack(full)} end
  end
  local counted
  if act[16] ~= '' and not there and size <= address_seats then
    -- The first from there: {hold_id, size} as `address_judged` packs it; a hold has at most 50 places.
    counted = '\146' .. act[6] .. string.char(size)
  elseif act[16] ~= '' then
    local many
    many, counted = address_judged(KEYS[2], there, act[4], size, address_holds, address_seats, newer)
    if many then return many end
  end
  if orphan_rule ~= 'off' and act[17] then
    local alone = left_alone(KEYS[1], orphan_rule, cmsgpack.unpack(act[13]), seats_of(act, 17), {})
    if #alone > 0 then return {'orphan', unpack(alone)} end
  end

  -- Nothing below refuses.
  put_seats(KEYS[1], act, 17, bytes, free, HELD)
  if areas ~= '' then ledger.move(areas, 1, 2, act[14]) end
  if not tally then return nil, act[11], counted end
  tally[1], tally[#tally + 1] = tally[1] + size, act[4]
  return nil, cmsgpack.pack(tally), counted
end

-- Gives back the hold whose record is `raw`, whole or in part, for the holder whose tally is `raw_tally`; or answers the
-- refusal. Answers nil, the holder's new tally (nil: nothing is left of it), the record but for its seq, when its
-- tombstone may be forgotten (nil: the hold stays), and how many places are left otherwise.
local function release(act, raw, raw_tally)
  local record, not_ours = own_active_hold(raw, act[7], nil)
  if not record then return not_ours end
  local seats, areas, out, left, left_areas = record[SEATS], record[AREAS], record[AREAS], {}, {}
  local runs
  if act[9] == '' and act[10] == '' then
    runs = runs_of(seats, 2)
  else
    local named, missing, wrong = act[9] == '' and {} or cmsgpack.unpack(act[9])
    left, missing = take_out_seats(seats, named)
    if #missing > 0 then return {'not_in_hold', unpack(missing)} end
    left_areas, out, wrong = take_out_areas(areas, act[10] == '' and {} or cmsgpack.unpack(act[10]))
    if #wrong > 0 then return {'not_in_area', unpack(wrong)} end
    runs = runs_of(named, 1)
  end

  -- Nothing below refuses.
  local bytes = bytes_of(KEYS[1], runs, 1)
  put_seats(KEYS[1], runs, 1, bytes, bytes == string.rep('\1', #bytes), AVAILABLE)
  if #out > 0 then
    ledger = ledger or open_areas(KEYS[4])
    ledger.move(out, 2, 1, record[CHANNEL])
  end
  local tally, size = tally_of(raw_tally), size_of(seats, areas)
  if #left > 0 or #left_areas > 0 then
    local rest = size_of(left, left_areas)
    tally[1] = tally[1] - size + rest
    record[SEATS], record[AREAS], record[REASON] = left, left_areas, 'own'
    return nil, cmsgpack.pack(tally), '\157' .. cmsgpack.pack(unpack(record, 1, SEQ - 1)), nil, rest
  end
  local lifetime = record[LIFETIME]
  local times = struct.pack('>BI8BI8BI8', 207, record[DEADLINE], 207, lifetime, 207, record[CREATED])
  local ended = act[8] .. cmsgpack.pack(record[DIGESTS], record[CHANNEL]) .. times
  -- It was his only one.
  if #tally == 2 then return nil, nil, ended, lifetime + TOMBSTONE_MS, 0 end
  tally = without(tally, act[4])
  tally[1] = tally[1] - size
  return nil, cmsgpack.pack(tally), ended, lifetime + TOMBSTONE_MS, 0
end
