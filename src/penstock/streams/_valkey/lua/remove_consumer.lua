-- Moves a page of what is pending with a consumer to its heir; with nothing left, removes the consumer.
--
-- KEYS: 1 stream
-- ARGV: 1 group, 2 consumer, 3 heir, 4 most entries, 5 where to begin
-- Answers how many entries moved, and where the next page begins ('' when there is none).
--
-- A script because XGROUP DELCONSUMER drops what the consumer holds: entries delivered to it between a look and the
-- removal would be lost. Entries gone from the stream cannot be moved (XCLAIM drops them, from Redis 7 on): they stay,
-- and the consumer with them, until they are recorded.
local stream, group, consumer, heir = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local look = {'XPENDING', stream, group, ARGV[5], '+', ARGV[4], consumer}
local found = redis.pcall(unpack(look))
if found.err then
  if string.find(found.err, 'NOGROUP', 1, true) then
    return {0, ''}
  end
  redis.call(unpack(look))
end
local moved = 0
for _, pending in ipairs(found) do
  local entry_id = pending[1]
  if #redis.call('XRANGE', stream, entry_id, entry_id) > 0 then
    redis.call('XCLAIM', stream, group, heir, 0, entry_id, 'IDLE', pending[3], 'RETRYCOUNT', pending[4], 'JUSTID')
    moved = moved + 1
  end
end
if #found == tonumber(ARGV[4]) then
  return {moved, '(' .. found[#found][1]}
end
if #redis.call('XPENDING', stream, group, '-', '+', 1, consumer) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
end
return {moved, ''}
