-- Removes a stream and all that is kept beside it, a bounded piece at a time, the stream itself last.
--
-- KEYS: 1 stream
-- ARGV: 1 what the keys kept beside it begin with
-- Answers whether the stream was there and is gone now, and whether there is more to be removed.
--
-- A script because the keys to be removed are known only from what the others hold. All lie in the stream's slot.
-- include escape
local base = ARGV[1]
local left = 1000
local groups = redis.call('SMEMBERS', base .. 'groups')
for _, group in ipairs(groups) do
  local index = base .. 'failures:' .. group
  local members = redis.call('ZRANGE', index, 0, left - 1)
  for _, member in ipairs(members) do
    redis.call('DEL', base .. 'failed:' .. group .. ':' .. string.match(member, '^[^/]+'))
    redis.call('ZREM', index, member)
  end
  left = left - #members
  if left == 0 then
    return {0, 1}
  end
  redis.call('DEL', index, base .. 'due:' .. group, base .. 'alone:' .. group, base .. 'parked_records:' .. group)
  local parked = base .. 'parked:' .. group
  local keys = redis.call('ZRANGE', parked, 0, left - 1)
  for _, key in ipairs(keys) do
    redis.call('DEL', parked .. ':' .. escape(key))
    redis.call('ZREM', parked, key)
  end
  left = left - #keys
  if left == 0 then
    return {0, 1}
  end
  redis.call('DEL', base .. 'parked_since:' .. group, base .. 'unparking:' .. group)
end
for _, lease in ipairs(redis.call('SMEMBERS', base .. 'leases')) do
  redis.call('DEL', base .. 'lease:' .. lease)
end
redis.call('DEL', base .. 'leases', base .. 'members', base .. 'memberships')
local histories = redis.call('SPOP', base .. 'histories', left)
for _, name in ipairs(histories) do
  redis.call('DEL', base .. 'history:' .. name)
end
left = left - #histories
if left == 0 then
  return {0, 1}
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    for number = 1, #group, 2 do
      if group[number] == 'name' then
        redis.call('DEL', base .. 'alone:' .. escape(group[number + 1]))
      end
    end
  end
end
redis.call('DEL', base .. 'groups', base .. 'cursors', base .. 'registered', base .. 'relays', base .. 'figures', base .. 'era',
  base .. 'ticks', base .. 'archived')
redis.call('UNLINK', base .. 'waiting', base .. 'delayed', base .. 'layout', base .. 'lane', base .. 'routes',
  base .. 'notes')
return {redis.call('UNLINK', KEYS[1]), 0}
