-- Takes a lease away from whoever has it; 0 when nobody does. Its fence is remembered.
--
-- KEYS: 1 lease
--
-- A script because the server's clock decides whether somebody has it. Works at the memory limit.
-- include lease
local facts = redis.call('HMGET', KEYS[1], 'token', 'until')
if not facts[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'token', 'until', 'description')
return tonumber(facts[2]) > now_us() and 1 or 0
