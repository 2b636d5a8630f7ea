-- Whether an entry is pending with a consumer (with anyone, when the consumer is ''). A group or stream that is gone
-- has nothing pending; other errors go to the caller.
local function pending_with(stream, group, consumer, entry_id)
  local command = {'XPENDING', stream, group, entry_id, entry_id, 1}
  if consumer ~= '' then
    command[7] = consumer
  end
  local found = redis.pcall(unpack(command))
  if found.err then
    if string.find(found.err, 'NOGROUP', 1, true) then
      return false
    end
    redis.call(unpack(command))
  end
  return #found > 0
end
