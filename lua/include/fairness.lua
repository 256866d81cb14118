-- What keeps holders from keeping seats from others. Put after `inventory`, where a header says `INCLUDE fairness`.
-- `x:` and a holder in the book: what he let expire, {holds, no new one until, seat, not his until, seat, …}; a hold
-- counts until its tombstone is forgotten. `a:` and an address's keyed hash: {hold id, places, …} taken from there.
local BARRED_SEATS_MAX = 100

-- What ending a hold, or forgetting it, costs: in places, as a share of what one step may do.
local function work_of(record)
  return record and 5 + size_of(record[SEATS], {}) + #record[AREAS] / 3 + #record[DIGESTS] or 5
end

-- Why a holder who let too many holds expire makes no new one now, or nil.
local function cooling_refusal(raw, now)
  local ends = raw and cmsgpack.unpack(raw)[2] or 0
  if ends > now then return {'cooling', ends - now} end
end

-- Why a holder does not get {seat, type, …} now, some of which he has just lost, or nil.
local function barred_refusal(raw, seats, now)
  if not raw then return nil end
  local lost, ends, barred, wait = cmsgpack.unpack(raw), {}, {}, 0
  for i = 3, #lost, 2 do ends[lost[i]] = math.max(ends[lost[i]] or 0, lost[i + 1]) end
  for i = 1, #seats, 2 do
    local left = (ends[seats[i]] or 0) - now
    if left > 0 then barred[#barred + 1], wait = seats[i], math.max(wait, left) end
  end
  if #barred > 0 then return {'barred', wait, unpack(barred)} end
end

-- Keeps the seats of a record from its holder for a while, and answers until when he makes no new hold. `expired`, a
-- number of holds, counts against his budget.
local function note_lost(book, record, expired, budget, cooldown_ms, cooldown_max_ms, rehold_ms, now)
  if budget == 0 and rehold_ms == 0 then return 0 end
  local field = 'x:' .. record[HOLDER]
  local raw = redis.call('HGET', book, field)
  local old = raw and cmsgpack.unpack(raw) or {0, 0}
  local lost, seats = {old[1] + expired, old[2]}, record[SEATS]
  if budget > 0 and expired > 0 and lost[1] >= budget then
    local pause = math.min(cooldown_ms * 2 ^ math.min(lost[1] - budget, 20), math.max(cooldown_ms, cooldown_max_ms))
    lost[2] = math.max(lost[2], now + pause)
  end
  for i = 1, rehold_ms > 0 and #seats or 0, 2 do
    lost[#lost + 1], lost[#lost + 2] = seats[i], now + rehold_ms
  end
  for i = 3, #old, 2 do
    if old[i + 1] > now and #lost < 2 + 2 * BARRED_SEATS_MAX then
      lost[#lost + 1], lost[#lost + 2] = old[i], old[i + 1]
    end
  end
  redis.call('HSET', book, field, cmsgpack.pack(lost))
  return lost[2]
end

-- A tombstone is forgotten, and with it that its hold counted.
local function forgive(book, record, now)
  local field = 'x:' .. record[HOLDER]
  local raw = redis.call('HGET', book, field)
  if not raw then return end
  local lost = cmsgpack.unpack(raw)
  -- Not below none: what was handed over with its holder (hand_over.lua) counts elsewhere.
  if record[REASON] == 'expired' then lost[1] = math.max(0, lost[1] - 1) end
  local latest = lost[2]
  for i = 4, #lost, 2 do latest = math.max(latest, lost[i]) end
  if lost[1] > 0 or latest > now then
    redis.call('HSET', book, field, cmsgpack.pack(lost))
  else
    redis.call('HDEL', book, field)
  end
end

-- Why an address takes no more, or nil, and its tally with `hold_id` of `size` places in it. What has ended is found
-- out only where the listed would be too many: then the book is asked what each hold is now. `newer` has the places of
-- holds which are others by now than in the book (nil: none are). Where nothing is too much nothing is listed: what has
-- ended would never be found out.
local function address_judged(book, raw, hold_id, size, max_holds, max_seats, newer)
  if max_holds == 0 and max_seats == 0 then return nil end
  local listed, tally = raw and cmsgpack.unpack(raw) or {}, {hold_id, size}
  local function too_many()
    local places = 0
    for i = 2, #tally, 2 do places = places + tally[i] end
    return max_holds > 0 and #tally / 2 > max_holds or max_seats > 0 and places > max_seats
  end
  for i = 1, #listed, 2 do
    if listed[i] ~= hold_id then tally[#tally + 1], tally[#tally + 2] = listed[i], listed[i + 1] end
  end
  if #tally > 2 and too_many() then
    local fields, kept = {}, {hold_id, size}
    for i = 3, #tally, 2 do fields[#fields + 1] = 'h:' .. tally[i] end
    for i, record_raw in ipairs(redis.call('HMGET', book, unpack(fields))) do
      local id, places = tally[2 * i + 1], nil
      local record = record_raw and cmsgpack.unpack(record_raw)
      if record and (record[STATE] == 'active' or record[STATE] == 'checkout') then
        places = size_of(record[SEATS], record[AREAS])
      end
      if newer then places = newer[id] or places end
      if places and places > 0 then kept[#kept + 1], kept[#kept + 2] = id, places end
    end
    tally = kept
  end
  if too_many() then return {'address_limit', #tally / 2 > max_holds and max_holds > 0 and max_holds or max_seats} end
  return nil, cmsgpack.pack(tally)
end
