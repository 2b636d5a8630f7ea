-- Failure records. KEYS 1 to 4 of every script that includes this: the message's hash, the group's index by last failure,
-- the group's retries by due time, the groups that have or had failures. `entry_id` is the message, `listener` escaped.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function held(listener, now)
  local facts = redis.call('HMGET', KEYS[1], listener .. '/token', listener .. '/due')
  return facts[1] and facts[1] ~= '' and tonumber(facts[2]) > now
end

-- Writes what the last run of a listener ended with. `wait` is when it runs again, in ms; below 0: a person decides.
-- While someone runs it, its due time and token stay theirs.
local function note(group, entry_id, listener, cause, error_type, message, traceback, wait, now)
  local member = entry_id .. '/' .. listener
  local keep = held(listener, now)
  redis.call('HSET', KEYS[1], listener .. '/cause', cause, listener .. '/error_type', error_type,
    listener .. '/error', message, listener .. '/traceback', traceback, listener .. '/last', whole(now))
  redis.call('HSETNX', KEYS[1], listener .. '/first', whole(now))
  redis.call('ZADD', KEYS[2], now, member)
  redis.call('SADD', KEYS[4], group)
  if keep then
    return
  end
  redis.call('HDEL', KEYS[1], listener .. '/token')
  if wait < 0 then
    redis.call('HSET', KEYS[1], listener .. '/state', 'failed')
    redis.call('HDEL', KEYS[1], listener .. '/due')
    redis.call('ZREM', KEYS[3], member)
  else
    redis.call('HSET', KEYS[1], listener .. '/state', 'retrying', listener .. '/due', whole(now + wait))
    redis.call('ZADD', KEYS[3], whole(now + wait), member)
  end
end

-- Removes the record of a listener, and the message's hash with its last one. Frees memory only, so that it works at the
-- memory limit.
local function erase(entry_id, listener)
  local member = entry_id .. '/' .. listener
  local facts = {}
  for _, fact in ipairs({'state', 'cause', 'error_type', 'error', 'traceback', 'attempts', 'first', 'last', 'due', 'token'}) do
    facts[#facts + 1] = listener .. '/' .. fact
  end
  local removed = redis.call('HDEL', KEYS[1], unpack(facts))
  redis.call('ZREM', KEYS[2], member)
  redis.call('ZREM', KEYS[3], member)
  if redis.call('HLEN', KEYS[1]) == redis.call('HEXISTS', KEYS[1], 'entry') then
    redis.call('DEL', KEYS[1])
  end
  return removed > 0 and 1 or 0
end
