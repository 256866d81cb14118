-- What becomes of losses (fairness.lua) that are handed over. Put after `fairness`, where a header says `INCLUDE losses`
-- and KEYS are 1 book, 2 deadlines.

-- Adds what a holder lost to what another one did: `rules` are the budget of expired holds, the shortest and the longest
-- pause, and how long a hold can live. A tombstone for each that expired keeps it counted as long as it could have been.
local function hand_losses(from, to, raw_theirs, raw_mine, rules, now)
  local budget, cooldown_ms, cooldown_max_ms, lifetime_ms = unpack(rules)
  local theirs, mine = cmsgpack.unpack(raw_theirs), raw_mine and cmsgpack.unpack(raw_mine) or {0, 0}
  local count, latest = theirs[1], math.max(theirs[2], mine[2])
  if budget > 0 and count > 0 and mine[1] + count >= budget then
    local times = 2 ^ math.min(mine[1] + count - budget, 20)
    latest = math.max(latest, now + math.min(cooldown_ms * times, math.max(cooldown_ms, cooldown_max_ms)))
  end
  local merged, ends = {mine[1] + count, latest}, {}
  for _, lost in ipairs({theirs, mine}) do
    for i = 3, #lost, 2 do ends[lost[i]] = math.max(ends[lost[i]] or 0, lost[i + 1]) end
  end
  for seat, until_ms in pairs(ends) do
    if until_ms > now and #merged < 2 + 2 * BARRED_SEATS_MAX then
      merged[#merged + 1], merged[#merged + 2], latest = seat, until_ms, math.max(latest, until_ms)
    end
  end
  if count <= 0 and latest <= now then return end
  theirs[1] = 0
  redis.call('HSET', KEYS[1], 'x:' .. to, cmsgpack.pack(merged), 'x:' .. from, cmsgpack.pack(theirs))
  for i = 1, math.max(count, 1) do
    local tombstone = {to, 'gone', 0, '', {}, {}, count > 0 and 'expired' or 'own', {}, 0, now, now, now, 0}
    local hold_id = from .. ':' .. now .. ':' .. i
    redis.call('HSET', KEYS[1], 'h:' .. hold_id, cmsgpack.pack(tombstone))
    redis.call('ZADD', KEYS[2], math.max(now + lifetime_ms, latest) + TOMBSTONE_MS, hold_id)
  end
end
