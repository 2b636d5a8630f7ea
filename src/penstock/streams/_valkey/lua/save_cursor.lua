-- Keeps how far a reader has come; never moves it back.
--
-- KEYS: 1 cursors of the stream
-- ARGV: 1 reader, 2 entry id
--
-- A script because a reader that lost its connection may save twice, and the earlier position may arrive last.
-- include ids
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if not kept or before(kept, ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
