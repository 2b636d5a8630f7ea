-- How far a group is behind, where that is known without counting.
--
-- KEYS: 1 stream
-- ARGV: 1 id last delivered, 2 how many the group has read by the server's count (-1 = it does not know)
-- Answers whether it is known, the length of the stream, and how many entries lie after the id.
--
-- A script so that all figures are of one moment, and because XINFO STREAM sends bodies along.
-- include ids
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {1, 0, 0}
end
local facts = {}
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for number = 1, #info, 2 do
  facts[info[number]] = info[number + 1]
end
local length, delivered = facts['length'], ARGV[1]
if length == 0 or not before(delivered, facts['last-entry'][1]) then
  return {1, length, 0}
end
if before(delivered, facts['first-entry'][1]) then
  return {1, length, length}
end
local read = tonumber(ARGV[2])
if read >= 0 and facts['max-deleted-entry-id'] == '0-0' and read <= facts['entries-added'] then
  return {1, length, facts['entries-added'] - read}
end
return {0, length, 0}
