-- Removes single entries that every reader has settled.
--
-- KEYS: 1 stream, 2 registered groups, 3 cursors, 4 relays
-- ARGV: 1 whether it is forced, then the entry ids
-- Answers who reads the stream (see shared/floor), and for each entry 1 when it was removed, 0 when it was not there, or
-- the places of those in that list who need it.
--
-- A script because a reader that comes in between would lose what it needs. Removing works at the memory limit.
-- include ids
-- include pending
-- include floor
local stream = KEYS[1]
local found = ARGV[1] == '1' and {} or holds(KEYS[1], KEYS[2], KEYS[3], KEYS[4])

local function needs(hold, entry_id)
  if before(entry_id, hold[3]) then
    return false
  end
  -- Of what was delivered to a group, only what is pending is needed.
  return hold[1] ~= 'group' or before(hold[6], entry_id) or pending_with(stream, hold[2], '', entry_id)
end

local answers = {}
for number = 2, #ARGV do
  local entry_id, holding = ARGV[number], {}
  for place, hold in ipairs(found) do
    if needs(hold, entry_id) then
      holding[#holding + 1] = place
    end
  end
  if #holding == 0 then
    answers[#answers + 1] = redis.call('XDEL', stream, entry_id)
  elseif #redis.call('XRANGE', stream, entry_id, entry_id) == 0 then
    answers[#answers + 1] = 0
  else
    answers[#answers + 1] = holding
  end
end
return {found, answers}
