-- How many ms until something may be due in some stream; 0 if it is, nil if nothing waits anywhere.
--
-- KEYS: 1 streams by when something may be due there ('inf' = nothing waits)
--
-- A script because the clock that decides is the server's.
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if not first or first == 'inf' then
  return false
end
local time = redis.call('TIME')
return math.max(0, tonumber(first) - (time[1] * 1000 + math.floor(time[2] / 1000)))
