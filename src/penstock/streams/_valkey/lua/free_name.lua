-- Gives a consumer name back if the token holds it; 1 if it did.
--
-- KEYS: 1 holder of the name
-- ARGV: 1 token
--
-- A script because the name may have run out and been taken by another between a look and the removal.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
