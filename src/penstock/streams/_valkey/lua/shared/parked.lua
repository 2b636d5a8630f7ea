-- Parked events of a group. `parked:<key>` has the entry ids that wait under a key, by number of arrival; `parked` has the
-- keys, all of score 0, so that they lie in order; `parked_since` since when, in ms; `unparking` those whose owner was
-- asked; `parked_records` the records in state parked. A parked message's hash has its key as `parked`. Needs record.
--
-- These five are KEYS 5 to 9 of every script that includes this; ARGV 1 to 3 are the group (escaped), the entry id and the
-- key.
local line, keys, since, asked, records = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]

-- The listeners (escaped) of the message whose records are parked.
local function parked_listeners()
  local found = {}
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    local listener = string.match(name, '^(.*)/state$')
    if listener and redis.call('HGET', KEYS[1], name) == 'parked' then
      found[#found + 1] = listener
    end
  end
  return found
end

-- Writes a record as parked: nothing runs it again but unparking. `number` is where its six arguments begin.
local function park_record(number, now)
  local listener = ARGV[number]
  local member = ARGV[2] .. '/' .. listener
  tell(ARGV[1], ARGV[2], listener, ARGV[number + 1], ARGV[number + 2], ARGV[number + 3], ARGV[number + 4], now)
  redis.call('HSET', KEYS[1], listener .. '/state', 'parked')
  redis.call('HDEL', KEYS[1], listener .. '/due', listener .. '/token')
  redis.call('ZREM', KEYS[3], member)
  redis.call('SADD', records, member)
end

-- Puts the message at the end of the key's line, unless it stands in one.
local function line_up(now)
  if redis.call('HSETNX', KEYS[1], 'parked', ARGV[3]) == 0 then
    return
  end
  local last = redis.call('ZREVRANGE', line, 0, 0, 'WITHSCORES')[2] or '0'
  redis.call('ZADD', line, whole(last + 1), ARGV[2])
  redis.call('ZADD', keys, 0, ARGV[3])
  redis.call('HSETNX', since, ARGV[3], whole(now))
end

-- What follows frees memory only, so that it works at the memory limit.

local function drop_record(listener)
  erase(ARGV[2], listener)
  redis.call('SREM', records, ARGV[2] .. '/' .. listener)
end

-- Takes the message out of the key's line; with the line's last one the key is open again.
local function leave_line()
  redis.call('HDEL', KEYS[1], 'parked')
  redis.call('ZREM', line, ARGV[2])
  if redis.call('EXISTS', line) == 0 then
    redis.call('ZREM', keys, ARGV[3])
    redis.call('HDEL', since, ARGV[3])
    redis.call('SREM', asked, ARGV[3])
  end
end

local function drop_message()
  for _, listener in ipairs(parked_listeners()) do
    drop_record(listener)
  end
  leave_line()
end

-- Whether the message is the first that waits under the key.
local function is_first()
  return redis.call('ZRANGE', line, 0, 0)[1] == ARGV[2]
end
