-- Replaces a stream's layout, if it is still the one that the change started from.
--
-- KEYS: 1 layout
-- ARGV: 1 revision that is replaced (0 = there is none), then names and values
-- Answers 1, or 0 when another revision holds; then nothing was changed.
--
-- A script because of two changes that start from the same layout only one may happen.
if (redis.call('HGET', KEYS[1], 'revision') or '0') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
