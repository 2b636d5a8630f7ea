-- Records an entry that is pending, with whomever, but gone from the stream, then acknowledges it.
--
-- KEYS: 1 to 4 see record, 5 stream, 6 counts of handlings alone
-- ARGV: 1 group (escaped), 2 entry id, 3 group, then listener, cause, error type, error, traceback, -1
-- Answers 1, or 0 when the entry is in the stream or pending with nobody; then nothing was changed.
--
-- A script because two consumers may come upon it at once.
-- include pending
-- include record
if not pending_with(KEYS[5], ARGV[3], '', ARGV[2]) or #redis.call('XRANGE', KEYS[5], ARGV[2], ARGV[2]) > 0 then
  return 0
end
note_all(4, ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[6], ARGV[2])
redis.call('XACK', KEYS[5], ARGV[3], ARGV[2])
return 1
