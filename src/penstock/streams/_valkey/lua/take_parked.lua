-- Takes the first event of a key that is being unparked: counts the attempt before its handlers start.
--
-- KEYS: 1 to 4 see record, 5 to 9 see parked, 10 the lane's lease
-- ARGV: 1 to 3 see parked, 4 token, 5 fence
-- Answers 1; 0 when the entry is not the first any more; nil when the lease is not held or nobody has asked for the key.
--
-- A script because an attempt that kills its process must count, and only for the owner.
-- include record
-- include lease
-- include parked
if not holds(KEYS[10], ARGV[4], ARGV[5]) or redis.call('SISMEMBER', asked, ARGV[3]) == 0 then
  return false
end
if not is_first() then
  return 0
end
for _, listener in ipairs(parked_listeners()) do
  redis.call('HINCRBY', KEYS[1], listener .. '/attempts', 1)
end
return 1
