-- Retries of one group that are due by the server's clock, oldest first, each with its due time in ms.
--
-- KEYS: 1 the group's retries by due time
-- ARGV: 1 most
--
-- A script because the clock that was set by a failure is the one that decides.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
