-- Counts one handling alone of an entry that is pending with a consumer; the count, or nil if it is not.
--
-- KEYS: 1 stream, 2 counts of handlings alone
-- ARGV: 1 group, 2 consumer, 3 entry id
--
-- A script because the count must not grow for an entry that has gone to another consumer.
-- include pending
if not pending_with(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then
  return false
end
return redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
