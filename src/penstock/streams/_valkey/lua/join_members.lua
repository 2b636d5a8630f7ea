-- Makes or keeps somebody a member of a group for a while, and forgets those whose life has run out; answers who is there
-- as shared/members has it.
--
-- KEYS: 1 members of the stream, 2 their descriptions
-- ARGV: 1 group (escaped), 2 token, 3 description, 4 life in microseconds, 5 the same in ms
--
-- A script because a share is counted from who is there, ourselves included, by the server's clock. New members are
-- refused at the memory limit, old ones are not: PEXPIRE is not refused there, nor is what a script writes after it.
-- include lease
-- include members
local member, now = ARGV[1] .. ':' .. ARGV[2], now_us()
local keep = math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[5]))
if redis.call('ZSCORE', KEYS[1], member) then
  redis.call('PEXPIRE', KEYS[1], digits(keep))
end
redis.call('HSET', KEYS[2], member, ARGV[3])
redis.call('ZADD', KEYS[1], digits(now + ARGV[4]), member)
redis.call('PEXPIRE', KEYS[1], digits(keep))
redis.call('PEXPIRE', KEYS[2], digits(keep))
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', digits(now))) do
  redis.call('ZREM', KEYS[1], gone)
  redis.call('HDEL', KEYS[2], gone)
end
return living(KEYS[1], KEYS[2], ARGV[1])
