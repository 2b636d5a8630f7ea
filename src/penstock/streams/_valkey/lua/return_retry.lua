-- Gives a claimed retry back, due at once, and takes the counted attempt off; 0 when the token is not the present one.
--
-- KEYS: 1 to 4 see record
-- ARGV: 1 group (escaped), 2 entry id, 3 listener (escaped), 4 token
--
-- A script because a former claimer must not change what another runs by now.
-- include record
local listener = ARGV[3]
if redis.call('HGET', KEYS[1], listener .. '/token') ~= ARGV[4] then
  return 0
end
local due = whole(now_ms())
redis.call('HSET', KEYS[1], listener .. '/due', due, listener .. '/token', '')
redis.call('HINCRBY', KEYS[1], listener .. '/attempts', -1)
redis.call('ZADD', KEYS[3], due, ARGV[2] .. '/' .. listener)
return 1
