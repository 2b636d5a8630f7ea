-- Who is there of a group: tokens and descriptions, one after the other. `members` has <group escaped>:<token> by the end
-- of life in microseconds, `descriptions` what each says of itself. Needs lease.
local function living(members, descriptions, group)
  local found = {}
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', members, '(' .. digits(now_us()), '+inf')) do
    if string.sub(member, 1, #group + 1) == group .. ':' then
      found[#found + 1] = string.sub(member, #group + 2)
      found[#found + 1] = redis.call('HGET', descriptions, member) or ''
    end
  end
  return found
end
