-- Adds one entry, once per token, keeps the stream under its cap, and notes the entry in the history of its entity; to a
-- partition, only under the layout that holds.
--
-- KEYS: 1 stream, 2 what this token wrote, 3 the stream's era (tokens of a deleted stream count no more), 4 to 6 who reads
--       the stream besides its groups: registered groups, cursors, relays, 7 the mark of a partition; with a history also
--       8 that, 9 the names of all histories of the stream
-- ARGV: 1 entry id or *, 2 most entries (0 = any), 3 greatest age in ms (0 = any), 4 whether the cap comes before what
--       groups need, 5 token ('' = none), 6 its window in ms, 7 the epoch of the layout that chose this partition ('' = it
--       is none), 8 the history's name ('' = none), 9 the place at which the entry stood first ('' = the one that it gets
--       here), then the fields
-- Answers the entry id, 0 when the cap is reached and the oldest entry is still needed, or -1 when the partition is closed
-- or belongs to another layout.
--
-- A script because counting, adding and removing apart would let a stream exceed its cap, or lose what a group needs, and
-- a crash between adding and noting would leave an entry that its history does not know.
-- XADD is the first write: at the memory limit it is refused before anything has changed.
-- include ids
-- include floor
-- include add

local token, era = ARGV[5], nil

if token ~= '' then
  era = redis.call('GET', KEYS[3])
  local written = redis.call('GET', KEYS[2])
  if era and written then
    local of_era, entry_id = string.match(written, '^(%S+) (%S+)$')
    if of_era == era then
      return entry_id
    end
  end
end

-- After the token: what was written under the former layout is found here, and only here.
if ARGV[7] ~= '' then
  local mark = redis.call('HMGET', KEYS[7], 'epoch', 'state')
  if mark[1] ~= ARGV[7] or mark[2] ~= 'open' then
    return -1
  end
end

local index = ARGV[8] ~= '' and {KEYS[8], KEYS[9], ARGV[8], ARGV[9]} or nil
local cap = {tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] ~= '0'}
local entry_id = add(KEYS[1], ARGV[1], ARGV, 10, cap, {KEYS[4], KEYS[5], KEYS[6]}, index)
if not entry_id then
  return 0
end
if token ~= '' then
  if not era then
    local time = redis.call('TIME')
    era = time[1] .. '.' .. time[2]
    redis.call('SET', KEYS[3], era)
  end
  redis.call('SET', KEYS[2], era .. ' ' .. entry_id, 'PX', ARGV[6])
end
return entry_id
