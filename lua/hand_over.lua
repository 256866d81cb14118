-- Gives a holder's holds to another holder, to whom he has signed in: each one that the other's limits have room for.
-- INCLUDE inventory
-- INCLUDE fairness
-- INCLUDE losses
-- KEYS 1 book, 2 deadlines, 3 log
-- ARGV 1 stamp, 2 skew_ms, 3 holder, 4 to_holder, 5 max_seats, 6 max_holds, 7 lifetime_ms, 8 expired_holds
-- ARGV 9 cooldown_ms, 10 cooldown_max_ms, 11 booking…
-- RETURN handed, now_ms, hold_id, word… | no_book | other_stamp, stamp
-- A hold keeps its id, deadline, lifetime and extensions. `word` says what became of it: moved, limit, too_many_holds,
-- expired, or marked: it is being claimed for a booking that is none of the `booking`s, which PostgreSQL has given to the
-- other one already. Theirs are moved whatever the limits, and count. Two log entries: to his sockets the holds are gone,
-- to the other's they are there. What he let expire counts against the other from here on, and its pauses hold for both.
local stamp, from, to = ARGV[1], ARGV[3], ARGV[4]
local found = redis.call('HMGET', KEYS[1], 'stamp', 'o:' .. from, 'o:' .. to, 'x:' .. from, 'x:' .. to)
local refusal = stamp_refusal(found[1], stamp)
if refusal then return refusal end

-- Nothing below refuses.
local now, had, has = server_time_ms(ARGV[2]), tally_of(found[2]), tally_of(found[3])
local bookings, gone, moved, stays, is_moved = {}, {}, {}, {had[1]}, {}
local answer = {'handed', now}
for i = 11, #ARGV do bookings[ARGV[i]] = true end

local function word_of(record)
  if record[STATE] ~= 'active' then return bookings[record[BOOKING]] and 'moved' or 'marked' end
  if record[DEADLINE] <= now then return 'expired' end
  if has[1] + size_of(record[SEATS], record[AREAS]) > tonumber(ARGV[5]) then return 'limit' end
  return #has > tonumber(ARGV[6]) and 'too_many_holds' or 'moved'
end

local function hand(hold_id, record)
  local size = size_of(record[SEATS], record[AREAS])
  stays[1], has[1], has[#has + 1], is_moved[hold_id] = stays[1] - size, has[1] + size, hold_id, true
  local ended = {unpack(record)}
  ended[STATE], ended[BOOKING], ended[SEATS], ended[AREAS], ended[REASON] = 'gone', '', {}, {}, 'own'
  record[HOLDER], record[REASON] = to, 'own'
  gone[#gone + 1], moved[#moved + 1] = {hold_id, ended}, {hold_id, record}
  -- A retry of his finds that the hold is gone, and never takes seats again.
  for _, digest in ipairs(record[DIGESTS]) do
    local marker = redis.call('HGET', KEYS[1], 'k:' .. digest)
    if marker then redis.call('HSET', KEYS[1], 'k:' .. digest, cmsgpack.pack({'', cmsgpack.unpack(marker)[2]})) end
  end
end

local rules = {tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[7])}
if found[4] then hand_losses(from, to, found[4], found[5], rules, now) end
for _, booked in ipairs({true, false}) do
  for i = 2, #had do
    local raw = redis.call('HGET', KEYS[1], 'h:' .. had[i])
    local record = raw and cmsgpack.unpack(raw)
    if record and (record[STATE] ~= 'active') == booked then
      local word = word_of(record)
      if word == 'moved' then hand(had[i], record) end
      answer[#answer + 1], answer[#answer + 2] = had[i], word
    end
  end
end
if #moved == 0 then return answer end
for i = 2, #had do if not is_moved[had[i]] then stays[#stays + 1] = had[i] end end
write_log(KEYS[3], stamp, 'hand_over', '', {}, {}, gone)
local seq = write_log(KEYS[3], stamp, 'hand_over', '', {}, {}, moved)
for _, hold in ipairs(moved) do
  hold[2][SEQ] = seq
  redis.call('HSET', KEYS[1], 'h:' .. hold[1], cmsgpack.pack(hold[2]))
end
write_tally(KEYS[1], from, stays)
write_tally(KEYS[1], to, has)
return answer
