-- Keeps an entry until its time, unless its event waits already.
--
-- KEYS: 1 event ids by due time, 2 the entries by event id
-- ARGV: 1 event id, 2 due time in ms, 3 the entry packed (see kept)
-- Answers when the event is due.
--
-- A script because the two keys change together, and a second call must not move what waits.
-- HSETNX is the first write: at the memory limit it is refused before anything has changed.
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[3]) == 0 then
  return redis.call('ZSCORE', KEYS[1], ARGV[1])
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return ARGV[2]
