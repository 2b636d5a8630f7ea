-- Removes a group with its pending list, and the counts kept for it; 1 if it was there.
--
-- KEYS: 1 stream, 2 counts of handlings alone
-- ARGV: 1 group
--
-- A script so that the counts of a former group never burden a new one of the same name.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
  return 0
end
local removed = redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return removed
