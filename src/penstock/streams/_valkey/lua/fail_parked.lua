-- Writes what the first event of a key failed with, in place of its former records; the key is not being unparked any more.
--
-- KEYS: 1 to 4 see record, 5 to 9 see parked, 10 the lane's lease
-- ARGV: 1 to 3 see parked, 4 token, 5 fence, then for each listener: name (escaped), cause, error type, error, traceback, -1
-- Answers 1, or 0 when the lease is not held or the entry is not the first any more; then nothing was changed.
--
-- A script because between the new records and the old ones a crash would leave both or none. The attempt was counted
-- when the event was taken; a listener without a record takes over how often the event was tried. New records come
-- first: they are what the memory limit refuses.
-- include record
-- include lease
-- include parked
if not holds(KEYS[10], ARGV[4], ARGV[5]) or not is_first() then
  return 0
end
local now, attempts, before, failed = now_ms(), 0, parked_listeners(), {}
for _, listener in ipairs(before) do
  attempts = math.max(attempts, tonumber(redis.call('HGET', KEYS[1], listener .. '/attempts')))
end
for number = 6, #ARGV, 6 do
  local listener = ARGV[number]
  if redis.call('HGET', KEYS[1], listener .. '/state') ~= 'parked' then
    redis.call('HSET', KEYS[1], listener .. '/attempts', attempts)
  end
  park_record(number, now)
  failed[listener] = true
end
for _, listener in ipairs(before) do
  if not failed[listener] then
    drop_record(listener)
  end
end
redis.call('SREM', asked, ARGV[3])
return 1
