-- A parked key in one look: how many events wait, the first of them, since when in ms, whether the owner was asked; nil
-- when nothing waits.
--
-- KEYS: 1 the key's line, 2 since when keys are parked, 3 the keys whose owner was asked
-- ARGV: 1 key
--
-- A script so that all of it is of one moment.
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if not first then
  return false
end
return {redis.call('ZCARD', KEYS[1]), first, redis.call('HGET', KEYS[2], ARGV[1]) or '0',
  redis.call('SISMEMBER', KEYS[3], ARGV[1])}
