-- How many ms until the earliest retry of one group is due; 0 if one is, nil if there is none.
--
-- KEYS: 1 the group's retries by due time
--
-- A script because the clock that was set by a failure is the one that decides.
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #first == 0 then
  return false
end
local time = redis.call('TIME')
return math.max(0, tonumber(first[2]) - (time[1] * 1000 + math.floor(time[2] / 1000)))
