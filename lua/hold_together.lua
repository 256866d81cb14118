-- Decides holds and releases of one event that wait together, in order, each as hold_seats and release_hold would.
-- INCLUDE inventory
-- INCLUDE fairness
-- INCLUDE holding
-- KEYS 1 seats, 2 book, 3 deadlines, 4 areas, 5 log
-- ARGV 1 stamp, 2 rules, 3 act…
-- RULES 1 log_id, 2 skew_ms, 3 opens_ms, 4 max_seats, 5 max_holds, 6 hold_ms, 7 lifetime_ms, 8 orphan_rule
-- RULES 9 address_holds, 10 address_seats
-- RETURN together, times, ending, answer… | no_book | other_stamp, stamp
-- An act is HOLD of hold_seats.lua or RELEASE of release_hold.lua; no hold may be named twice: a log entry changes a hold
-- at most once. All that is granted is one log entry, whose holds bear their own origins. An answer is the word `held` or
-- `released`, which go on with `times` and `ending` (inventory/together.py), or the list that the other scripts answer;
-- or `failed` and why: one act's defect is not the others'; but what Redis refuses the first, it refuses the whole call.
local acts, fields, at = {}, {'stamp'}, {}
for i = 3, #ARGV do
  local act, top = {cmsgpack.unpack(ARGV[i])}, #fields
  acts[i - 2], at[i - 2], fields[top + 1], fields[top + 2] = act, top + 1, act[2], act[3]
  if act[1] == 'hold' then fields[top + 3], fields[top + 4] = act[15], act[16] ~= '' and act[16] or nil end
end
local found = redis.call('HMGET', KEYS[2], unpack(fields))
local refusal = stamp_refusal(found[1], ARGV[1])
if refusal then return refusal end
local now = server_time_ms(skew_ms)
local lifetime, deadline = now + lifetime_ms, now + math.min(hold_ms, lifetime_ms)
local times = struct.pack('>BI8BI8BI8', 207, deadline, 207, lifetime, 207, now)
-- `kept` has the fields that change, false for those that go; `newer` the places of the holds that changed.
local answers, kept, newer, told, due = {'together', times, ''}, {}, {}, {}, {}
local granted, records, parts, n = {}, {}, {}, 0

for i = 1, #acts do
  local act, raw, fine, tally, there, record, forget_ms, places = acts[i], found[at[i] + 1], true, nil, nil, nil, nil, nil
  local is_hold, known = act[1] == 'hold', kept[act[2]]
  if known == nil then known = found[at[i]] end
  if newer[act[4]] then
    refusal = {'later'}
  elseif is_hold then
    local listed = act[16] ~= '' and (kept[act[16]] or found[at[i] + 3])
    fine, refusal, tally, there = pcall(hold, act, raw, known, found[at[i] + 2], listed, now, newer)
    record, places = act[9] .. times, act[10]
  else
    fine, refusal, tally, record, forget_ms, places = pcall(release, act, raw, known)
  end
  if not fine and n == 0 and string.find(refusal, '^%u+ ') then return redis.error_reply(refusal) end
  if not fine then refusal = {'failed', refusal} end
  if refusal then
    answers[i + 3] = refusal
  else
    n = n + 1
    newer[act[4]], kept[act[2]], granted[n], records[n] = places, tally or false, act, record
    if there then kept[act[16]] = there end
    local top = #told
    told[top + 1], told[top + 2], told[top + 3], told[top + 4], told[top + 5] = '\147', act[6], record, '\0', act[5]
    answers[i + 3] = is_hold and 'held' or 'released'
    if is_hold or forget_ms then
      due[#due + 1], due[#due + 2] = is_hold and deadline or forget_ms, act[4]
    else
      parts[#parts + 1] = {i + 3, n}
    end
  end
end
if n == 0 then return answers end

local head = n < 16 and string.char(144 + n) or struct.pack('>BI2', 220, n)
local seq = append_entry(KEYS[5], '\149\168together\160', head .. table.concat(told))
local ending = struct.pack('>BI8', 207, seq)
local book, gone, top = {}, {}, 0
answers[3] = ending
for i = 1, n do
  local act, record = granted[i], records[i] .. ending
  book[top + 1], book[top + 2], top, records[i] = act[1] == 'hold' and act[7] or act[3], record, top + 2, record
  if act[1] == 'hold' and act[8] ~= '' then book[top + 1], book[top + 2], top = act[3], act[8], top + 2 end
end
for field, value in pairs(kept) do
  if value then book[top + 1], book[top + 2], top = field, value, top + 2 else gone[#gone + 1] = field end
end
redis.call('HSET', KEYS[2], unpack(book))
if #gone > 0 then redis.call('HDEL', KEYS[2], unpack(gone)) end
if #due > 0 then redis.call('ZADD', KEYS[3], unpack(due)) end
for i = 1, #parts do answers[parts[i][1]] = {'kept', seq, records[parts[i][2]], now} end
return answers
