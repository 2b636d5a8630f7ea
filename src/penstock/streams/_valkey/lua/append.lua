-- Adds one entry, once per token, and keeps the stream under its cap.
--
-- KEYS: 1 stream, 2 what this token wrote, 3 the stream's era (tokens of a deleted stream count no more)
-- ARGV: 1 entry id or *, 2 most entries (0 = any), 3 greatest age in ms (0 = any), 4 whether the cap comes before what
--       groups need, 5 token ('' = none), 6 its window in ms, then the fields
-- Answers the entry id, or 0 when the cap is reached and the oldest entry is still needed.
--
-- A script because counting, adding and removing apart would let a stream exceed its cap, or lose what a group needs.
-- XADD is the first write: at the memory limit it is refused before anything has changed.
-- include ids
-- include floor

local stream = KEYS[1]
local max_entries, max_age_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
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

local length = redis.call('EXISTS', stream) == 1 and redis.call('XLEN', stream) or 0
local needed = nil
if ARGV[4] == '0' and length > 0 and ((max_entries > 0 and length >= max_entries) or max_age_ms > 0) then
  needed = floor(stream)
end
if needed and max_entries > 0 and length >= max_entries then
  -- The last of those that would have to go is the one that may still be needed.
  local going = redis.call('XRANGE', stream, '-', '+', 'COUNT', length - max_entries + 1)
  if not before(going[#going][1], needed) then
    return 0
  end
end

local command = {'XADD', stream, ARGV[1]}
for number = 7, #ARGV do
  command[#command + 1] = ARGV[number]
end
local entry_id = redis.call(unpack(command))

if max_entries > 0 then
  redis.call('XTRIM', stream, 'MAXLEN', '=', max_entries)
end
if max_age_ms > 0 then
  local time = redis.call('TIME')
  local oldest = string.format('%.0f', math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - max_age_ms))
  if needed and before(needed, oldest .. '-0') then
    oldest = needed
  end
  -- A great deal of it goes in steps, one with each append, so that the server never stalls: whole nodes first.
  if redis.call('XTRIM', stream, 'MINID', '~', oldest, 'LIMIT', 10000) < 5000 then
    redis.call('XTRIM', stream, 'MINID', '=', oldest)
  end
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
