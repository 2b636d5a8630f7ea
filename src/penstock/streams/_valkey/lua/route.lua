-- Adds an entry of a foreign stream to a partition, once and in its turn.
--
-- KEYS: 1 partition, 2 its mark, 3 what was routed into it
-- ARGV: 1 foreign stream, 2 fence, 3 epoch of the layout, 4 its partitions, 5 id in the foreign stream, 6 id of the one
--       before it in this partition ('' = none), then the fields
-- Answers 'written', 'already there', 'closed', 'fenced' or 'out of turn'; only the first has changed anything.
--
-- A script because between adding and noting what was added a crash would add twice. XADD is the first write: at the
-- memory limit it is refused before anything has changed.
-- include ids
local source, epoch = ARGV[1], ARGV[3]
if tonumber(redis.call('HGET', KEYS[3], 'fence:' .. source) or '0') > tonumber(ARGV[2]) then
  return 'fenced'
end
local noted = redis.call('HGET', KEYS[3], 'last:' .. source)
local last = noted and string.match(noted, '^' .. epoch .. ' %d+ (%S+)$')
if last and not before(last, ARGV[5]) then
  return 'already there'
end
local mark = redis.call('HMGET', KEYS[2], 'epoch', 'state')
if mark[1] ~= epoch or mark[2] ~= 'open' then
  return 'closed'
end
if ARGV[6] ~= '' and (not last or before(last, ARGV[6])) then
  return 'out of turn'
end
local command = {'XADD', KEYS[1], '*'}
for number = 7, #ARGV do
  command[#command + 1] = ARGV[number]
end
redis.call(unpack(command))
if noted and not last then
  redis.call('HSET', KEYS[3], 'former:' .. source, noted)
end
redis.call('HSET', KEYS[3], 'fence:' .. source, ARGV[2], 'last:' .. source, epoch .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
return 'written'
