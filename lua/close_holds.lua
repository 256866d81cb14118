-- A closed sale: frees a batch of the holds that are in no checkout, whatever their deadline.
-- INCLUDE inventory
-- INCLUDE fairness
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 skew_ms, 3 batch, 4 offset, 5 max_work, 6 until_ms
-- RETURN closed, seen, freed | no_book | other_stamp, stamp
-- A step ends at `max_work` places (a hold counts as five) or `batch` holds: the round is over where `seen` is 0.
-- `offset` skips what earlier calls saw; a freed hold moves behind its tombstone's time, so callers go round until
-- a whole round freed nothing. What would last until `until_ms` has ended now, tombstone and all, as in withdraw_hold.
local stamp = ARGV[1]
local refusal = stamp_refusal(redis.call('HGET', KEYS[2], 'stamp'), stamp)
if refusal then return refusal end
local now = server_time_ms(ARGV[2])
local some = redis.call('ZRANGE', KEYS[3], ARGV[4], ARGV[4] + ARGV[3] - 1)
local changed_seats, changed_areas, ended, seen, work = {}, {}, {}, 0, 0
for _, hold_id in ipairs(some) do
  if work >= tonumber(ARGV[5]) then break end
  local raw = redis.call('HGET', KEYS[2], 'h:' .. hold_id)
  local record = raw and cmsgpack.unpack(raw)
  seen, work = seen + 1, work + work_of(record)
  if record and record[STATE] == 'active' then
    if record[LIFETIME] >= tonumber(ARGV[6]) then record[DEADLINE], record[LIFETIME] = now, now end
    end_for_good(KEYS, record, hold_id, 'closed', now, changed_seats, changed_areas)
    ended[#ended + 1] = {hold_id, record}
  end
end
if #ended > 0 then
  local seq = write_log(KEYS[5], stamp, 'close', '', changed_seats, changed_areas, ended)
  for _, hold in ipairs(ended) do
    hold[2][SEQ] = seq
    redis.call('HSET', KEYS[2], 'h:' .. hold[1], cmsgpack.pack(hold[2]))
  end
end
return {'closed', seen, #ended}
