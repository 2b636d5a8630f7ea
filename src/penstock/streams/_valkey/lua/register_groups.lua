-- Notes the groups that will read a stream, and since when.
--
-- KEYS: 1 registered groups
-- ARGV: the groups
--
-- A script because the time is the server's.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for _, group in ipairs(ARGV) do
  redis.call('HSETNX', KEYS[1], group, now)
end
return #ARGV
