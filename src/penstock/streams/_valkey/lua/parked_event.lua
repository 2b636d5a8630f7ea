-- A parked event: how often it was handled, its packed fields, then for each parked record: listener (escaped), error
-- type, error. Nil when it is not parked.
--
-- KEYS: 1 the message's hash
-- ARGV: 1 whether the fields are wanted
--
-- A script because the names of the listeners are known only from the hash.
local attempts, found = 0, {}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local listener = string.match(name, '^(.*)/state$')
  if listener then
    local facts = redis.call('HMGET', KEYS[1], name, listener .. '/error_type', listener .. '/error', listener .. '/attempts')
    if facts[1] == 'parked' then
      attempts = math.max(attempts, tonumber(facts[4]))
      found[#found + 1] = listener
      found[#found + 1] = facts[2]
      found[#found + 1] = facts[3]
    end
  end
end
if #found == 0 then
  return false
end
return {attempts, ARGV[1] == '1' and redis.call('HGET', KEYS[1], 'entry') or '', unpack(found)}
