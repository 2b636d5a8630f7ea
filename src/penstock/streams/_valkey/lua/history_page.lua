-- A page of the history of one entity: places, present ids, and the entries themselves where the stream has them.
--
-- KEYS: 1 the history, 2 stream
-- ARGV: 1 the place after which the page begins ('' = the beginning), 2 most events, 3 about how many bytes
-- Answers whether there is more, then for each event its item of the history and its entry (nil = gone).
--
-- A script because the index read apart may name entries that have been put back elsewhere in between, and because many
-- small answers are one.
-- include ids
local history, stream, after = KEYS[1], KEYS[2], ARGV[1]
local length = redis.call('LLEN', history)
local first = 0
if after ~= '' then
  local beyond = length
  while first < beyond do
    local middle = math.floor((first + beyond) / 2)
    local place = string.match(redis.call('LINDEX', history, middle), '^%S+')
    if before(after, place) then
      beyond = middle
    else
      first = middle + 1
    end
  end
end
local answer, bytes = {0}, 0
for _, item in ipairs(redis.call('LRANGE', history, first, first + ARGV[2] - 1)) do
  if bytes >= tonumber(ARGV[3]) then
    break
  end
  local entry_id = string.match(item, '%S+$')
  local entry = redis.call('XRANGE', stream, entry_id, entry_id)[1] or false
  for _, field in ipairs(entry and entry[2] or {}) do
    bytes = bytes + #field
  end
  answer[#answer + 1] = {item, entry}
end
answer[1] = first + #answer - 1 < length and 1 or 0
return answer
