-- Records the failures of one pending entry, then acknowledges it.
--
-- KEYS: 1 to 4 see record, 5 stream, 6 counts of handlings alone
-- ARGV: 1 group (escaped), 2 entry id, 3 group, 4 consumer, 5 the entry's fields packed ('' = unknown), then for each
--       listener: name (escaped), cause, error type, error, traceback, wait in ms (-1 = none)
-- Answers 1, or 0 when the entry is not pending with the consumer; then nothing was changed.
--
-- A script because a crash between recording and acknowledging would leave two ways to recover, and the other order none.
-- The first write is refused at the memory limit, so that nothing is changed there; acknowledging comes last.
-- include pending
-- include record
if not pending_with(KEYS[5], ARGV[3], ARGV[4], ARGV[2]) then
  return 0
end
note_all(6, ARGV[1], ARGV[2])
if ARGV[5] ~= '' then
  redis.call('HSETNX', KEYS[1], 'entry', ARGV[5])
end
redis.call('HDEL', KEYS[6], ARGV[2])
redis.call('XACK', KEYS[5], ARGV[3], ARGV[2])
return 1
