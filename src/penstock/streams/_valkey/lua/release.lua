-- Makes entries pending with a consumer look idle since for ever, and forgets how often they were handled alone.
--
-- KEYS: 1 stream, 2 counts of handlings alone
-- ARGV: 1 group, 2 consumer, then entry ids
-- Answers how many were the consumer's.
--
-- A script because XCLAIM does not ask whose an entry is.
-- include pending
local released = 0
for number = 3, #ARGV do
  local entry_id = ARGV[number]
  if pending_with(KEYS[1], ARGV[1], ARGV[2], entry_id) then
    if #redis.call('XRANGE', KEYS[1], entry_id, entry_id) > 0 then
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry_id, 'TIME', 0, 'JUSTID')
    end
    redis.call('HDEL', KEYS[2], entry_id)
    released = released + 1
  end
end
return released
