-- Takes a due retry: counts the attempt and hides it for a while, before its handler starts.
--
-- KEYS: 1 to 4 see record
-- ARGV: 1 group (escaped), 2 entry id, 3 listener (escaped), 4 token, 5 how long it is hidden in ms, 6 most attempts,
--       7 whether a person asks (then neither due time nor attempts matter)
-- Answers the attempts, this one included, and the packed fields ('' = none); nil when there is nothing to run: not due,
-- held by another, parked, gone, or its attempts are used up (it is in state failed then).
--
-- A script because of two workers only one may have it, and an attempt that kills its process must count.
-- include record
local listener, now = ARGV[3], now_ms()
local forced = ARGV[7] == '1'
local facts = redis.call('HMGET', KEYS[1], listener .. '/state', listener .. '/due', listener .. '/attempts', 'entry')
if not facts[1] or facts[1] == 'parked' or held(listener, now) then
  return false
end
if not forced then
  if facts[1] ~= 'retrying' or tonumber(facts[2]) > now then
    return false
  end
  if tonumber(facts[3]) >= tonumber(ARGV[6]) then
    redis.call('HSET', KEYS[1], listener .. '/state', 'failed')
    redis.call('HDEL', KEYS[1], listener .. '/due', listener .. '/token')
    redis.call('ZREM', KEYS[3], ARGV[2] .. '/' .. listener)
    return false
  end
end
local due = whole(now + ARGV[5])
redis.call('HSET', KEYS[1], listener .. '/state', 'retrying', listener .. '/due', due, listener .. '/token', ARGV[4])
redis.call('ZADD', KEYS[3], due, ARGV[2] .. '/' .. listener)
return {redis.call('HINCRBY', KEYS[1], listener .. '/attempts', 1), facts[4] or ''}
