-- When the first entry that waits for a stream is due, in ms; nil when none does.
--
-- KEYS: 1 event ids by due time
--
-- A script because scores come in other forms outside of scripts, by the protocol that a connection speaks.
return redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or false
