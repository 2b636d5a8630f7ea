-- Counts entries away from a place in both directions, so many at most.
--
-- KEYS: 1 stream
-- ARGV: 1 count those after this id, 2 count those up to this id, 3 at most so many each way
-- Answers how many lie after and the id reached, how many lie before and the id reached.
--
-- A script because the entries would have to be sent to be counted.
local function count(found, from)
  return #found, #found > 0 and found[#found][1] or from
end
local after, after_id = count(redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[3]), ARGV[1])
local low = ARGV[2]
local before, before_id = count(redis.call('XREVRANGE', KEYS[1], low, '-', 'COUNT', ARGV[3]), ARGV[2])
-- The next page begins below the last one seen.
return {after, after_id, before, before > 0 and '(' .. before_id or before_id}
