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

-- Writes what the last run of a listener ended with, whatever becomes of it.
local function tell(group, entry_id, listener, cause, error_type, message, traceback, now)
  redis.call('HSET', KEYS[1], listener .. '/cause', cause, listener .. '/error_type', error_type,
    listener .. '/error', message, listener .. '/traceback', traceback, listener .. '/last', whole(now))
  redis.call('HSETNX', KEYS[1], listener .. '/first', whole(now))
  redis.call('ZADD', KEYS[2], whole(now), entry_id .. '/' .. listener)
  redis.call('SADD', KEYS[4], group)
end

-- Writes what the last run of a listener ended with. `wait` is when it runs again, in ms; below 0: a person decides.
-- While someone runs it, its due time and token stay theirs; and what is parked stays parked.
local function note(group, entry_id, listener, cause, error_type, message, traceback, wait, now)
  local member = entry_id .. '/' .. listener
  local keep = held(listener, now) or redis.call('HGET', KEYS[1], listener .. '/state') == 'parked'
  tell(group, entry_id, listener, cause, error_type, message, traceback, now)
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

-- Counts an attempt of each listener in ARGV from a place on, and notes how it ended: six arguments for each.
local function note_all(first, group, entry_id)
  local now = now_ms()
  for number = first, #ARGV, 6 do
    redis.call('HINCRBY', KEYS[1], ARGV[number] .. '/attempts', 1)
    note(group, entry_id, ARGV[number], ARGV[number + 1], ARGV[number + 2], ARGV[number + 3], ARGV[number + 4],
      tonumber(ARGV[number + 5]), now)
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
  local of_message = 0
  for _, name in ipairs({'entry', 'parked', 'original', 'edits'}) do
    of_message = of_message + redis.call('HEXISTS', KEYS[1], name)
  end
  if redis.call('HLEN', KEYS[1]) == of_message then
    redis.call('DEL', KEYS[1])
  end
  return removed > 0 and 1 or 0
end
