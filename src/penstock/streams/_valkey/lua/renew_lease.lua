-- Holds a lease for longer; 0 when it is not held under this token and fence.
--
-- KEYS: 1 lease
-- ARGV: 1 token, 2 fence, 3 life in microseconds, 4 how long the former fence is remembered in ms
--
-- A script because it may have run out and been taken between a look and the renewal. An owner must not lose what it has
-- because the server is at its memory limit: PEXPIRE is not refused there, nor is what a script writes after it.
-- include lease
if not holds(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('HSET', KEYS[1], 'until', digits(now_us() + ARGV[3]))
return 1
