-- Asks the owner of a lane to handle what waits under a key; how many events that is.
--
-- KEYS: 1 the key's line, 2 the keys whose owner was asked
-- ARGV: 1 key
--
-- A script because the last event may leave in between, and nobody would take the key off the list.
local waiting = redis.call('ZCARD', KEYS[1])
if waiting > 0 then
  redis.call('SADD', KEYS[2], ARGV[1])
end
return waiting
