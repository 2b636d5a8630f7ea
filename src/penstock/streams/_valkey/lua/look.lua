-- A stream in one look: length, first id, last id, highest id ever given, number of groups; nil if it does not exist.
--
-- KEYS: 1 stream
--
-- A script because XINFO STREAM sends the first and last entries with their bodies, which may be large.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local facts = {}
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for number = 1, #info, 2 do
  facts[info[number]] = info[number + 1]
end
local first, last = facts['first-entry'], facts['last-entry']
return {facts['length'], first and first[1] or '', last and last[1] or '', facts['last-generated-id'], facts['groups']}
