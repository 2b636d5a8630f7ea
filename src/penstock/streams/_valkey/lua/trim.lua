-- Removes a bounded number of the oldest entries, none that somebody needs.
--
-- KEYS: 1 stream, 2 registered groups, 3 cursors, 4 relays
-- ARGV: 1 only below this id ('' = any), 2 how many of the newest stay (-1 = any), 3 nothing while nobody reads it,
--       4 whether it is forced, 5 most entries
-- Answers how many went, whether there is more to be removed, and who needs the oldest of those that stayed though asked
-- to go; see shared/floor.
--
-- A script because a floor that was read before would be another one by now: a group made in between, or set back, would
-- lose what it needs. Removing works at the memory limit.
-- include ids
-- include floor
local stream = KEYS[1]
local found = holds(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local length = redis.call('EXISTS', stream) == 1 and redis.call('XLEN', stream) or 0
if length == 0 or (ARGV[3] == '1' and #found == 0) then
  return {0, 0, {}}
end

-- Asked to go are the oldest `excess` entries, of those the ones below `asked`; of them may go the ones below `bound`.
local asked = ARGV[1] ~= '' and ARGV[1] or nil
local excess = ARGV[2] == '-1' and length or math.max(0, length - tonumber(ARGV[2]))
local bound = asked
local needed = ARGV[4] ~= '1' and floor(found) or nil
if needed and (not bound or before(needed, bound)) then
  bound = needed
end

-- Nothing lies below the first id of all, and the server takes no range that ends there.
local quota = bound == '0-0' and 0 or math.min(excess, tonumber(ARGV[5]))
local removed = 0
if quota > 0 and not bound then
  removed = redis.call('XTRIM', stream, 'MAXLEN', '=', length - quota)
elseif quota > 0 then
  -- Whole nodes first: that looks at no entry, and stops at the node that holds the bound or would exceed the quota. What
  -- is left of the quota lies in that one node, so that few entries are looked at, however large they are.
  removed = redis.call('XTRIM', stream, 'MINID', '~', bound, 'LIMIT', quota)
  if removed < quota then
    local rest = redis.call('XRANGE', stream, '-', '(' .. bound, 'COUNT', quota - removed + 1)
    if #rest > quota - removed then
      removed = removed + redis.call('XTRIM', stream, 'MINID', '=', rest[#rest][1])
    elseif #rest > 0 then
      removed = removed + redis.call('XTRIM', stream, 'MINID', '=', bound)
    end
  end
end

if removed == excess then
  return {removed, 0, {}}
end
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1][1]
if asked and not before(oldest, asked) then
  return {removed, 0, {}}
end
if not bound or before(oldest, bound) then
  return {removed, 1, {}}
end
local holding = {}
for _, hold in ipairs(found) do
  if not before(oldest, hold[3]) then
    holding[#holding + 1] = hold
  end
end
return {removed, 0, holding}
