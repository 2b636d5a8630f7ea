-- Puts a record of a message that is due at once, no attempt made, unless the listener has one.
--
-- KEYS: 1 to 4 see record
-- ARGV: 1 group (escaped), 2 entry id, 3 listener (escaped), 4 the entry's fields packed, 5 cause, 6 error type, 7 error,
--       8 traceback, 9 wait in ms
-- Answers 1, or 0 when there is a record; then nothing was changed.
--
-- A script because two who ask at the same time must not give the message to the group twice.
-- include record
if redis.call('HEXISTS', KEYS[1], ARGV[3] .. '/state') == 1 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[3] .. '/attempts', 0)
redis.call('HSETNX', KEYS[1], 'entry', ARGV[4])
note(ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), now_ms())
return 1
