-- Takes or renews the right to work under a consumer name; answers the token and the description of who holds it now.
--
-- KEYS: 1 holder of the name
-- ARGV: 1 token, 2 description, 3 life in ms, 4 token of a holder known to be dead ('' = none)
--
-- A script because of two that come at once only one may have the name.
local holder = redis.call('HMGET', KEYS[1], 'token', 'description')
if holder[1] and holder[1] ~= ARGV[1] and (ARGV[4] == '' or holder[1] ~= ARGV[4]) then
  return holder
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'description', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {ARGV[1], ARGV[2]}
