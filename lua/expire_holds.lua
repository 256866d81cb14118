-- The sweep: frees a batch of overdue holds, forgets old tombstones, and names the holds that are in checkout for long.
-- INCLUDE inventory
-- INCLUDE fairness
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 batch, 4 mark_ms, 5 latest_ms, 6 expired_holds, 7 cooldown_ms, 8 cooldown_max_ms
-- ARGV 9 rehold_ms, 10 jitter_ms, 11 seed, 12 max_work
-- RETURN swept, seen, freed, next_ms, hold_id, record… | no_book | other_stamp, stamp
-- No moment after `latest_ms` has come yet, whatever this machine's clock says: a clock that was set frees nothing.
-- Whether a named hold has a claim is to be looked up; it is named again after `mark_ms`.
-- A step ends at `max_work` places (a hold counts as five) or `batch` holds: nothing more is due where `seen` is 0.
-- `next_ms` is the next deadline, 0 for none. Nobody can tell
-- when seats come back: a hold that is due is put off once, by a random part of `jitter_ms`, which `seed` decides.
local stamp = ARGV[1]
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), stamp)
if refusal then return refusal end
local now = math.min(server_time_ms(ARGV[2]), tonumber(ARGV[5]))
local budget, cooldown_ms, cooldown_max_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local rehold_ms, jitter_ms = tonumber(ARGV[9]), tonumber(ARGV[10])
math.randomseed(tonumber(ARGV[11]))
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local changed_seats, changed_areas, ended, marked, seen, work = {}, {}, {}, {}, 0, 0
for i = 1, #due, 2 do
  if work >= tonumber(ARGV[12]) then break end
  local hold_id = due[i]
  local raw = redis.call('HGET', KEYS[2], 'h:' .. hold_id)
  local record = raw and cmsgpack.unpack(raw)
  seen, work = seen + 1, work + work_of(record)
  if record and record[STATE] == 'active' and jitter_ms > 0 and tonumber(due[i + 1]) == record[DEADLINE] then
    redis.call('ZADD', KEYS[3], now + math.random(jitter_ms), hold_id)
  elseif record and record[STATE] == 'active' then
    local cooling = note_lost(KEYS[2], record, 1, budget, cooldown_ms, cooldown_max_ms, rehold_ms, now)
    end_for_good(KEYS, record, hold_id, 'expired', now, changed_seats, changed_areas)
    -- What it counts for is forgotten with it, so it stays as long.
    if cooling > math.max(record[LIFETIME], now) then redis.call('ZADD', KEYS[3], cooling + TOMBSTONE_MS, hold_id) end
    ended[#ended + 1] = {hold_id, record}
  elseif record and record[STATE] == 'checkout' then
    redis.call('ZADD', KEYS[3], now + ARGV[4], hold_id)
    marked[#marked + 1] = hold_id
    marked[#marked + 1] = raw
  else
    forget(KEYS[2], hold_id, record)
    if record and record[STATE] == 'gone' then forgive(KEYS[2], record, now) end
    redis.call('ZREM', KEYS[3], hold_id)
  end
end
if #ended > 0 then
  local seq = write_log(KEYS[5], stamp, 'expire', '', changed_seats, changed_areas, ended)
  for _, hold in ipairs(ended) do
    hold[2][SEQ] = seq
    redis.call('HSET', KEYS[2], 'h:' .. hold[1], cmsgpack.pack(hold[2]))
  end
end
local following = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
return {'swept', seen, #ended, following[2] or 0, unpack(marked)}
