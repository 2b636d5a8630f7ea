-- Replaces a claimed record of a whole message by records of the listeners that failed; 0 when the token is not the
-- present one.
--
-- KEYS: 1 to 4 see record
-- ARGV: 1 group (escaped), 2 entry id, 3 listener (escaped), 4 token, then for each failed listener: name (escaped),
--       cause, error type, error, traceback, wait in ms (-1 = none)
--
-- A script because between the new records and the old one a crash would leave both or none. New ones come first: they
-- are what the memory limit refuses.
-- include record
if redis.call('HGET', KEYS[1], ARGV[3] .. '/token') ~= ARGV[4] then
  return 0
end
note_all(5, ARGV[1], ARGV[2])
erase(ARGV[2], ARGV[3])
return 1
