-- Hides a claimed retry for longer; 0 when the token is not the present one.
--
-- KEYS: 1 to 4 see record
-- ARGV: 1 group (escaped), 2 entry id, 3 listener (escaped), 4 token, 5 how long in ms
--
-- A script because another may have claimed it meanwhile.
-- include record
if redis.call('HGET', KEYS[1], ARGV[3] .. '/token') ~= ARGV[4] then
  return 0
end
local due = whole(now_ms() + ARGV[5])
redis.call('HSET', KEYS[1], ARGV[3] .. '/due', due)
redis.call('ZADD', KEYS[3], due, ARGV[2] .. '/' .. ARGV[3])
return 1
