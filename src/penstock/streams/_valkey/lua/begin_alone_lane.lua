-- Counts one handling alone of an entry that is pending with the owner of a lane; nil if it, or the lease, is not held.
--
-- KEYS: 1 stream, 2 counts of handlings alone, 3 the lane's lease
-- ARGV: 1 group, 2 consumer, 3 token, 4 fence, 5 entry id
--
-- A script because the count must not grow for an entry that has gone to another owner.
-- include pending
-- include lease
if not holds(KEYS[3], ARGV[3], ARGV[4]) or not pending_with(KEYS[1], ARGV[1], ARGV[2], ARGV[5]) then
  return false
end
return redis.call('HINCRBY', KEYS[2], ARGV[5], 1)
