-- Puts an entry of a parked key behind those that wait, then acknowledges it, under the lease of its lane.
--
-- KEYS: 1 to 4 see record, 5 to 9 see parked, 10 the lane's lease, 11 stream, 12 counts of handlings alone
-- ARGV: 1 to 3 see parked, 4 token, 5 fence, 6 group, 7 consumer, 8 the entry's fields packed, then what its record says:
--       *, cause, error type, error, traceback, -1
-- Answers 1; 0 when the lease is not held or the entry is not pending with the owner; 2 when nothing waits under the key.
-- Then nothing was changed.
--
-- A script because the key may be opened between a look and the entry's place in its line. The first write is refused at
-- the memory limit, so that nothing is changed there; acknowledging comes last.
-- include pending
-- include record
-- include lease
-- include parked
if not holds(KEYS[10], ARGV[4], ARGV[5]) or not pending_with(KEYS[11], ARGV[6], ARGV[7], ARGV[2]) then
  return 0
end
if redis.call('EXISTS', line) == 0 then
  return 2
end
if redis.call('HEXISTS', KEYS[1], 'parked') == 0 then
  local now = now_ms()
  redis.call('HSETNX', KEYS[1], 'entry', ARGV[8])
  redis.call('HSETNX', KEYS[1], ARGV[9] .. '/attempts', 0)
  park_record(9, now)
  line_up(now)
end
redis.call('HDEL', KEYS[12], ARGV[2])
redis.call('XACK', KEYS[11], ARGV[6], ARGV[2])
return 1
