-- Records a run of something that recurs and adds its entries, if nobody else has done so.
--
-- KEYS: 1 stream, 2 the last run by name, 3 to 5 who reads the stream besides its groups, 6 the names of all its histories
-- ARGV: 1 name, 2 the time of the last run in ms, as it was seen ('' = never), 3 this run: its time in ms, the next one's
--       ('-' = none) and the rule, 4 what the keys of histories begin with, then the entries packed (see kept)
-- Answers the ids of what was added; nil when the last run is another; 0 when the stream is at its cap. Then nothing was
-- changed.
--
-- A script because of all processes that see the time come one may add, and a crash between adding and recording would
-- have another add once more. With a cap the first entry makes room for all, so that none is refused after a write.
-- include ids
-- include floor
-- include add
-- include kept
local last = redis.call('HGET', KEYS[2], ARGV[1])
if (last and string.match(last, '^%S+') or '') ~= ARGV[2] then
  return false
end
local readers, histories, added = {KEYS[3], KEYS[4], KEYS[5]}, {KEYS[6], ARGV[4]}, {}
for number = 5, #ARGV do
  local entry_id = add_kept(KEYS[1], unpacked(ARGV[number]), readers, histories, #ARGV - number)
  if not entry_id then
    return 0
  end
  added[#added + 1] = entry_id
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return added
