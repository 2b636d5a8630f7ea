-- Restarts the idle time of entries that are still pending with a consumer; answers those that are not.
--
-- KEYS: 1 stream
-- ARGV: 1 group, 2 consumer, then entry ids
--
-- A script because XCLAIM does not ask whose an entry is: sent apart from the look, it would rob another consumer.
-- Entries gone from the stream are left alone, since XCLAIM drops them from the pending list (from Redis 7 on).
-- include pending
local lost = {}
for number = 3, #ARGV do
  local entry_id = ARGV[number]
  if not pending_with(KEYS[1], ARGV[1], ARGV[2], entry_id) then
    lost[#lost + 1] = entry_id
  elseif #redis.call('XRANGE', KEYS[1], entry_id, entry_id) > 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry_id, 'JUSTID')
  end
end
return lost
