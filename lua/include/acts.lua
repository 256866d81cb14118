-- Staff's acts on anybody's hold, which PostgreSQL notes and numbers before they are done (docs/decisions/035). Put after
-- `inventory`, where a header says `INCLUDE acts`. `act` in the book is the latest: {number, hold_id, before, after, seq,
-- lent}, or {number} of one that was not done and never will be. Number 0 has an act without a note.

-- The answer to an act that comes too late: one that followed it was done, or it is on record as not done.
local function overtaken_refusal(latest, number)
  if number > 0 and latest and cmsgpack.unpack(latest)[1] >= number then return {'overtaken'} end
end

-- Notes what an act did; `after` is '' where the hold ended.
local function note_act(book, number, hold_id, before, after, seq, lent)
  if number > 0 then redis.call('HSET', book, 'act', cmsgpack.pack({number, hold_id, before, after, seq, lent})) end
end
