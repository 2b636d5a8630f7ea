-- Acknowledges entries that are pending with the owner of a lane; at most some thousands, which Lua can pass on at once.
--
-- KEYS: 1 stream, 2 counts of handlings alone, 3 the lane's lease
-- ARGV: 1 group, 2 consumer, 3 token, 4 fence, then entry ids
-- Answers how many were pending with the owner, or nil when the lease is not held; then nothing was changed.
--
-- A script because a former owner must not settle what the next one handles. Works at the memory limit.
-- include pending
-- include lease
if not holds(KEYS[3], ARGV[3], ARGV[4]) then
  return false
end
local ours = {}
for number = 5, #ARGV do
  if pending_with(KEYS[1], ARGV[1], ARGV[2], ARGV[number]) then
    ours[#ours + 1] = ARGV[number]
  end
end
if #ours == 0 then
  return 0
end
redis.call('HDEL', KEYS[2], unpack(ours))
return redis.call('XACK', KEYS[1], ARGV[1], unpack(ours))
