-- Takes a free or expired lease, or renews the one that this token has.
--
-- KEYS: 1 lease, 2 the names of the stream's leases (only for a lease that belongs to a stream)
-- ARGV: 1 token, 2 description, 3 life in microseconds, 4 how long the former fence is remembered in ms, 5 name (escaped)
-- Answers 1 and the fence, or 0 and token, description, fence and remaining microseconds of whoever has it.
--
-- A script because of two that come at once only one may have it, and because the server's clock decides.
-- include lease
local facts = redis.call('HMGET', KEYS[1], 'token', 'fence', 'until', 'description')
local now, fence = now_us(), tonumber(facts[2] or '0')
if facts[1] and tonumber(facts[3]) > now then
  if facts[1] ~= ARGV[1] then
    return {0, facts[1], facts[4], facts[2], digits(facts[3] - now)}
  end
else
  fence = math.max(fence + 1, now)
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'fence', digits(fence), 'until', digits(now + ARGV[3]),
  'description', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if KEYS[2] then
  redis.call('SADD', KEYS[2], ARGV[5])
end
return {1, digits(fence)}
