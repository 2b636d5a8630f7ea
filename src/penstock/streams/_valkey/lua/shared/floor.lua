-- Who still needs what of a stream. Needs ids.

-- The first id after one, by its text: its counter may be 18446744073709551615, which Lua's own numbers would round. The
-- very last id is its own successor.
local largest = '18446744073709551615'

local function one_more(digits)
  local sum, carry = {}, 1
  for at = #digits, 1, -1 do
    local digit = tonumber(string.sub(digits, at, at)) + carry
    carry = digit > 9 and 1 or 0
    table.insert(sum, 1, tostring(digit % 10))
  end
  return (carry == 1 and '1' or '') .. table.concat(sum)
end

local function after(entry_id)
  local ms, sequence = string.match(entry_id, '^(%d+)%-(%d+)$')
  if sequence ~= largest then
    return ms .. '-' .. one_more(sequence)
  end
  return ms == largest and entry_id or one_more(ms) .. '-0'
end

-- Every reader as {kind, name, lowest id that it needs, number of its pending entries, registered since in ms}; none for a
-- stream that does not exist. A group needs its lowest pending entry, or what comes after its last delivered, whichever is
-- lower; a cursor and a relay what comes after their position; a registered group that does not exist needs everything.
-- The further facts of a group are for `remove`: last delivered id.
local function holds(stream, registered, cursors, relays)
  if redis.call('EXISTS', stream) == 0 then
    return {}
  end
  local found, there = {}, {}
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = {}
    for number = 1, #group, 2 do
      facts[group[number]] = group[number + 1]
    end
    local name, delivered = facts['name'], facts['last-delivered-id']
    local needs = after(delivered)
    if facts['pending'] > 0 then
      local lowest = redis.call('XPENDING', stream, name)[2]
      if before(lowest, needs) then
        needs = lowest
      end
    end
    there[name] = true
    found[#found + 1] = {'group', name, needs, facts['pending'], '', delivered}
  end
  for kind, key in pairs({['cursor'] = cursors, ['relay'] = relays}) do
    local positions = redis.call('HGETALL', key)
    for number = 1, #positions, 2 do
      found[#found + 1] = {kind, positions[number], after(positions[number + 1]), 0, ''}
    end
  end
  local expected = redis.call('HGETALL', registered)
  for number = 1, #expected, 2 do
    if not there[expected[number]] then
      found[#found + 1] = {'absent group', expected[number], '0-0', 0, expected[number + 1]}
    end
  end
  return found
end

-- The lowest id that anybody needs, as an id below which everything may go; nil when nobody needs anything.
local function floor(found)
  local lowest = nil
  for _, hold in ipairs(found) do
    if not lowest or before(hold[3], lowest) then
      lowest = hold[3]
    end
  end
  return lowest
end
