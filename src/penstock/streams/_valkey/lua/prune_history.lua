-- Forgets events of one entity that exist nowhere any more.
--
-- KEYS: 1 the history, 2 stream, 3 the names of all histories of the stream, 4 whether the stream was ever archived
-- ARGV: 1 the history's name, 2 whether the archive was asked, then items of the history
-- Answers how many were forgotten.
--
-- A script because an entry may be put back while one decides: then its item is another, or the stream has it.
if ARGV[2] == '0' and redis.call('EXISTS', KEYS[4]) == 1 then
  return 0
end
local forgotten = 0
for number = 3, #ARGV do
  local entry_id = string.match(ARGV[number], '%S+$')
  if #redis.call('XRANGE', KEYS[2], entry_id, entry_id) == 0 then
    forgotten = forgotten + redis.call('LREM', KEYS[1], 1, ARGV[number])
  end
end
if forgotten > 0 and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SREM', KEYS[3], ARGV[1])
end
return forgotten
