-- Has an event that waits enter its stream as another entry; whether it waits.
--
-- KEYS: 1 event ids by due time, 2 the entries by event id
-- ARGV: 1 event id, 2 the entry packed (see kept)
--
-- A script because it may be moved or cancelled meanwhile, and must not be left behind without a due time.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
