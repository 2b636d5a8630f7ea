-- The lowest id that some group of the stream still needs (its lowest pending entry, else the first one after its last
-- delivered), as an id below which everything may go; nil when the stream has no groups. Needs ids.
local function floor(stream)
  local lowest = nil
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = {}
    for number = 1, #group, 2 do
      facts[group[number]] = group[number + 1]
    end
    local needs
    if facts['pending'] > 0 then
      needs = redis.call('XPENDING', stream, facts['name'])[2]
    else
      -- Entries up to the last delivered may go: the first id after it. Its counter is compared as text and may be
      -- 18446744073709551615, so one is added on the text as well.
      local ms, sequence = string.match(facts['last-delivered-id'], '^(%d+)%-(%d+)$')
      local digits, carry = {}, 1
      for at = #sequence, 1, -1 do
        local digit = tonumber(string.sub(sequence, at, at)) + carry
        carry = digit > 9 and 1 or 0
        table.insert(digits, 1, tostring(digit % 10))
      end
      needs = ms .. '-' .. (carry == 1 and '1' or '') .. table.concat(digits)
    end
    if not lowest or before(needs, lowest) then
      lowest = needs
    end
  end
  return lowest
end
