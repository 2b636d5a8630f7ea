-- Adds events of a store to a stream, in their order, each once, and marks how far the relay has come.
--
-- KEYS: 1 stream, 2 marks of the relays into it, 3 its mark as a partition, 4 to 6 who reads the stream besides its groups:
--       registered groups, cursors, relays, 7 the names of all its histories, then the histories that are used
-- ARGV: 1 relay, 2 position that its mark must have reached (0 = any), 3 epoch of the layout that chose this partition
--       (0 = it is none), 4 partitions of that layout, 5 most entries (0 = any), 6 greatest age in ms (0 = any), 7 whether
--       the cap comes before what readers need, then for each event: position, event id, number of its history among the
--       KEYS (0 = none), the history's name, first place (see append), number of its names and values, these
-- Answers 'done', 'closed', 'behind' or 'full', the position marked now, and how many were added.
--
-- A script because a crash between adding and marking would add twice, and of two relays at once each would add.
-- XADD is the first write: at the memory limit it is refused before anything has changed. Marks are read before it, and
-- positions compared as text, since Lua's own numbers would round them.
-- include ids
-- include floor
-- include add
local relay, required, epoch = ARGV[1], ARGV[2], ARGV[3]
local noted = redis.call('HGET', KEYS[2], 'last:' .. relay)
local last = noted and string.match(noted, '^' .. epoch .. ' %d+ (%d+) ')
if required ~= '0' and (not last or less(last, required)) then
  return {'behind', last or '0', 0}
end

local cap = {tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] ~= '0'}
local is_plain = cap[1] == 0 and cap[2] == 0
local readers = {KEYS[4], KEYS[5], KEYS[6]}
local outcome, added, event_id, reached, at = 'done', 0, nil, last, 8
while at <= #ARGV do
  local position, many = ARGV[at], tonumber(ARGV[at + 5])
  if not reached or less(reached, position) then
    if added == 0 and epoch ~= '0' then
      local mark = redis.call('HMGET', KEYS[3], 'epoch', 'state')
      if mark[1] ~= epoch or mark[2] ~= 'open' then
        outcome = 'closed'
        break
      end
    end
    if is_plain and ARGV[at + 2] == '0' and many < 1000 then
      -- What `add` would do, without two copies of the fields: most entries have nothing else to them.
      redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 6, at + 5 + many))
    else
      local fields = {}
      for number = at + 6, at + 5 + many do
        fields[#fields + 1] = ARGV[number]
      end
      local index = ARGV[at + 2] ~= '0' and {KEYS[tonumber(ARGV[at + 2])], KEYS[7], ARGV[at + 3], ARGV[at + 4]} or nil
      if not add(KEYS[1], '*', fields, 1, cap, readers, index) then
        outcome = 'full'
        break
      end
    end
    added, reached, event_id = added + 1, position, ARGV[at + 1]
  end
  at = at + 6 + many
end

if added > 0 then
  if noted and not last then
    redis.call('HSET', KEYS[2], 'former:' .. relay, noted)
  end
  redis.call('HSET', KEYS[2], 'last:' .. relay, epoch .. ' ' .. ARGV[4] .. ' ' .. reached .. ' ' .. event_id)
end
return {outcome, reached or '0', added}
