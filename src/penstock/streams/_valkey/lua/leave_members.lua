-- Forgets a member of a group; 1 if it was there and its life had not run out.
--
-- KEYS: 1 members of the stream, 2 their descriptions
-- ARGV: 1 group (escaped), 2 token
--
-- A script because both keys belong together. Works at the memory limit.
-- include lease
local member = ARGV[1] .. ':' .. ARGV[2]
local until_us = redis.call('ZSCORE', KEYS[1], member)
redis.call('ZREM', KEYS[1], member)
redis.call('HDEL', KEYS[2], member)
return until_us and tonumber(until_us) > now_us() and 1 or 0
