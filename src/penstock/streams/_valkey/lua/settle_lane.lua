-- Records the failures of one pending entry, then acknowledges it, under the lease of its lane.
--
-- KEYS: 1 to 4 see record, 5 stream, 6 counts of handlings alone, 7 the lane's lease
-- ARGV: 1 group (escaped), 2 entry id, 3 group, 4 consumer, 5 token, 6 fence, 7 the entry's fields packed ('' = unknown),
--       then for each listener: name (escaped), cause, error type, error, traceback, -1
-- Answers 1, or 0 when the lease is not held or the entry is not pending with the owner; then nothing was changed.
--
-- A script for the reasons of `settle`, and because a former owner must not settle what the next one handles.
-- include pending
-- include record
-- include lease
if not holds(KEYS[7], ARGV[5], ARGV[6]) or not pending_with(KEYS[5], ARGV[3], ARGV[4], ARGV[2]) then
  return 0
end
note_all(8, ARGV[1], ARGV[2])
if ARGV[7] ~= '' then
  redis.call('HSETNX', KEYS[1], 'entry', ARGV[7])
end
redis.call('HDEL', KEYS[6], ARGV[2])
redis.call('XACK', KEYS[5], ARGV[3], ARGV[2])
return 1
