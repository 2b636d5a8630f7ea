-- Acknowledges an entry that was handled alone, and forgets how often it was.
--
-- KEYS: 1 stream, 2 counts of handlings alone
-- ARGV: 1 group, 2 consumer, 3 entry id
-- Answers 1, or 0 when the entry is not pending with the consumer; then nothing was changed.
--
-- A script because the count belongs to whoever has the entry: one who lost it must not take the count from the next.
-- include pending
if not pending_with(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[3])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return 1
