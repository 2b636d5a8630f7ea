-- Shuts former routers of a foreign stream out of a partition.
--
-- KEYS: 1 what was routed into the partition
-- ARGV: 1 foreign stream, 2 fence
-- Answers how far the stream has come there, as 'epoch partitions id', under the last layout and under the one before it
-- ('' = never).
--
-- A script so that what it answers cannot be changed any more by a former router.
local fence = 'fence:' .. ARGV[1]
if tonumber(ARGV[2]) > tonumber(redis.call('HGET', KEYS[1], fence) or '0') then
  redis.call('HSET', KEYS[1], fence, ARGV[2])
end
return {
  redis.call('HGET', KEYS[1], 'last:' .. ARGV[1]) or '',
  redis.call('HGET', KEYS[1], 'former:' .. ARGV[1]) or '',
}
