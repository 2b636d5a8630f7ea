-- Gives a lease up; 0 when it is not held under this token and fence. Its fence is remembered.
--
-- KEYS: 1 lease
-- ARGV: 1 token, 2 fence
--
-- A script because it may have run out and been taken between a look and the release. Works at the memory limit.
-- include lease
if not holds(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
redis.call('HDEL', KEYS[1], 'token', 'until', 'description')
return 1
