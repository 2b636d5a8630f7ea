-- Leases. Each is a hash: its last `fence`, and while somebody has it `token`, `description` and `until`, in microseconds
-- since 1970. These fit exactly into Lua's numbers, but not into its own text for them.
local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function digits(number)
  return string.format('%.0f', number)
end

-- Whether the lease is held under this token and fence at this moment.
local function holds(key, token, fence)
  local facts = redis.call('HMGET', key, 'token', 'fence', 'until')
  return facts[1] == token and facts[2] == fence and tonumber(facts[3]) > now_us()
end
