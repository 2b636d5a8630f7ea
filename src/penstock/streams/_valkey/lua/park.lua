-- Puts a failed entry with its payload at the end of its key's line, then acknowledges it, under the lease of its lane.
--
-- KEYS: 1 to 4 see record, 5 to 9 see parked, 10 the lane's lease, 11 stream, 12 counts of handlings alone
-- ARGV: 1 to 3 see parked, 4 token, 5 fence, 6 group, 7 consumer, 8 the entry's fields packed, then for each listener: name
--       (escaped), cause, error type, error, traceback, -1
-- Answers 1, or 0 when the lease is not held or the entry is not pending with the owner; then nothing was changed.
--
-- A script because later events of the key must find the line there from the moment on at which this entry is settled. The
-- first write is refused at the memory limit, so that nothing is changed there; acknowledging comes last.
-- include pending
-- include record
-- include lease
-- include parked
if not holds(KEYS[10], ARGV[4], ARGV[5]) or not pending_with(KEYS[11], ARGV[6], ARGV[7], ARGV[2]) then
  return 0
end
local now = now_ms()
for number = 9, #ARGV, 6 do
  redis.call('HINCRBY', KEYS[1], ARGV[number] .. '/attempts', 1)
  park_record(number, now)
end
redis.call('HSETNX', KEYS[1], 'entry', ARGV[8])
line_up(now)
redis.call('HDEL', KEYS[12], ARGV[2])
redis.call('XACK', KEYS[11], ARGV[6], ARGV[2])
return 1
