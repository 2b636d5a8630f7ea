-- Adds to a stream what has waited for its time, by the server's clock, oldest due time first.
--
-- KEYS: 1 stream, 2 event ids by due time, 3 the entries by event id, 4 to 6 who reads the stream besides its groups, 7 the
--       mark of a partition, 8 the names of all histories of the stream
-- ARGV: 1 what the keys of histories begin with, 2 most entries
-- Answers when the next one is due ('' = nothing waits), whether the stream is at its cap, and the ids of what was added.
--
-- A script because an entry is either waiting or in its stream: a crash in between would lose it or add it twice, and two
-- that move at once would, too. XADD comes first: at the memory limit it is refused before anything has changed.
-- include ids
-- include floor
-- include add
-- include kept
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local readers, histories = {KEYS[4], KEYS[5], KEYS[6]}, {KEYS[8], ARGV[1]}
local added, held = {}, nil
for _, event_id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[2])) do
  local kept = unpacked(redis.call('HGET', KEYS[3], event_id))
  if kept[4] ~= '' then
    local mark = redis.call('HMGET', KEYS[7], 'epoch', 'state')
    if mark[1] ~= kept[4] or mark[2] ~= 'open' then
      held = 'closed'
      break
    end
  end
  local entry_id = add_kept(KEYS[1], kept, readers, histories, 0)
  if not entry_id then
    held = 'full'
    break
  end
  redis.call('ZREM', KEYS[2], event_id)
  redis.call('HDEL', KEYS[3], event_id)
  added[#added + 1] = entry_id
end
if held then
  -- What holds it will not have changed at once.
  return {string.format('%.0f', now + 1000), held, added}
end
return {redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or '', '', added}
