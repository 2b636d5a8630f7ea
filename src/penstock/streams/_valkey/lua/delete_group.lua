-- Removes a group with its pending list, and what is kept for it; 1 if it was there. It is expected no more.
--
-- KEYS: 1 stream, 2 counts of handlings alone, 3 registered groups
-- ARGV: 1 group
--
-- A script so that the counts of a former group never burden a new one of the same name, and that nothing is kept for a
-- group that nobody wants back.
redis.call('HDEL', KEYS[3], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
  return 0
end
local removed = redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return removed
