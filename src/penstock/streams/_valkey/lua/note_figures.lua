-- Adds to the figures of a group what one process did.
--
-- KEYS: 1 figures of the stream
-- ARGV: 1 group (escaped), 2 settled events, 3 days that are kept, 4 seconds of a slot, 5 slots that are kept, then for each
--       listener: name (escaped), its numbers separated by spaces
--
-- A script because several processes add at once, and the day and the slot are the server's. Fields are
-- `<group>:pace` (`<slot>=<events>` each) and `<group>:<day>:<listener>` (numbers); `day` is when old days were dropped.
local key, group = KEYS[1], ARGV[1]
local seconds = tonumber(redis.call('TIME')[1])
local day, slot = math.floor(seconds / 86400), math.floor(seconds / tonumber(ARGV[4]))
local oldest = slot - tonumber(ARGV[5])

local pace = {[slot] = tonumber(ARGV[2])}
for at, events in string.gmatch(redis.call('HGET', key, group .. ':pace') or '', '(%d+)=(%d+)') do
  at = tonumber(at)
  if at > oldest then
    pace[at] = (pace[at] or 0) + tonumber(events)
  end
end
local texts = {}
for at, events in pairs(pace) do
  texts[#texts + 1] = string.format('%.0f=%.0f', at, events)
end
redis.call('HSET', key, group .. ':pace', table.concat(texts, ' '))

for number = 6, #ARGV, 2 do
  local field = group .. ':' .. day .. ':' .. ARGV[number]
  local sums = {}
  for value in string.gmatch(ARGV[number + 1], '%d+') do
    sums[#sums + 1] = tonumber(value)
  end
  local at = 0
  for value in string.gmatch(redis.call('HGET', key, field) or '', '%d+') do
    at = at + 1
    sums[at] = (sums[at] or 0) + tonumber(value)
  end
  for place, value in ipairs(sums) do
    sums[place] = string.format('%.0f', value)
  end
  redis.call('HSET', key, field, table.concat(sums, ' '))
end

if redis.call('HGET', key, 'day') ~= tostring(day) then
  redis.call('HSET', key, 'day', day)
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local of_day = string.match(field, '^[^:]*:(%d+):')
    if of_day and tonumber(of_day) <= day - tonumber(ARGV[3]) then
      redis.call('HDEL', key, field)
    end
  end
end
return 1
