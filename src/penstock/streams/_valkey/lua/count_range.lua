-- Counts the entries of a range, so many at most.
--
-- KEYS: 1 stream
-- ARGV: 1 where to begin, 2 where to end, 3 at most so many
-- Answers how many there are, and the last one's id.
--
-- A script because the entries would have to be sent to be counted.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#found, #found > 0 and found[#found][1] or ''}
