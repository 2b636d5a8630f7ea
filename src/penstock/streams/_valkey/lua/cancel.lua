-- Takes a waiting entry away; whether it waited.
--
-- KEYS: 1 event ids by due time, 2 the entries by event id
-- ARGV: 1 event id
--
-- A script because the entry must not be added once this has said yes. It frees memory only.
redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
