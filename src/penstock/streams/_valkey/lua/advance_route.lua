-- Moves what a group was last delivered forward to what was routed.
--
-- KEYS: 1 stream
-- ARGV: 1 group, 2 id
-- Answers whether the group is there.
--
-- A script because XGROUP SETID would move the group back as well, and a late router would undo what a later one noted.
-- include ids
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local facts = {}
  for number = 1, #group, 2 do
    facts[group[number]] = group[number + 1]
  end
  if facts['name'] == ARGV[1] then
    if before(facts['last-delivered-id'], ARGV[2]) then
      redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2])
    end
    return 1
  end
end
return 0
