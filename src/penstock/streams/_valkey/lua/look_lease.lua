-- Who has a lease: token, description, fence, remaining microseconds; nil when nobody does.
--
-- KEYS: 1 lease
--
-- A script because the server's clock decides.
-- include lease
local facts = redis.call('HMGET', KEYS[1], 'token', 'description', 'fence', 'until')
local now = now_us()
if not facts[1] or tonumber(facts[4]) <= now then
  return false
end
return {facts[1], facts[2], facts[3], digits(facts[4] - now)}
