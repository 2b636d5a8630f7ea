-- Notes when something may be due in a stream, unless a nearer time was announced since one looked.
--
-- KEYS: 1 streams by when something may be due there
-- ARGV: 1 stream, 2 the time that was seen, 3 the next one (+inf = nothing waits)
--
-- A script because the time must not be put off after another process announced an earlier one.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('ZADD', KEYS[1], 'XX', ARGV[3], ARGV[1])
end
return 1
