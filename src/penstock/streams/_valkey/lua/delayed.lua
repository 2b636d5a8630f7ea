-- A page of the entries that wait, by due time and event id.
--
-- KEYS: 1 event ids by due time, 2 the entries by event id
-- ARGV: 1 due time and 2 event id after which the page begins ('-inf' and '' = the beginning), 3 most
-- Answers event id, due time in ms and packed entry of each.
--
-- A script because an entry may be added to its stream between two looks.
local answer, offset = {}, 0
while #answer < tonumber(ARGV[3]) do
  local found = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', offset, 200)
  for number = 1, #found, 2 do
    local event_id, due = found[number], found[number + 1]
    if (due ~= ARGV[1] or event_id > ARGV[2]) and #answer < tonumber(ARGV[3]) then
      answer[#answer + 1] = {event_id, due, redis.call('HGET', KEYS[2], event_id)}
    end
  end
  if #found < 400 then
    break
  end
  offset = offset + 200
end
return answer
