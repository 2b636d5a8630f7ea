-- Replaces the payload that a failed message is run with, keeps the first one, and notes who did so and why.
--
-- KEYS: 1 to 4 see record, 5 the keys that are being unparked
-- ARGV: 1 listener (escaped), 2 the fields packed, 3 who and why, on one line, 4 most edits that are remembered
-- Answers 'done'; else 'gone' (no such record), 'empty' (no payload), or 'busy' (somebody runs it, with whichever of the
-- listeners, or may do so since its key is being unparked): then nothing was changed.
--
-- A script because a run that begins in between would end with a payload that nobody can see any more. `edits` has a line
-- for each edit: when, in ms, then who and why.
-- include record
if redis.call('HEXISTS', KEYS[1], ARGV[1] .. '/state') == 0 then
  return 'gone'
end
local entry = redis.call('HGET', KEYS[1], 'entry')
if not entry then
  return 'empty'
end
local now, parked = now_ms(), redis.call('HGET', KEYS[1], 'parked')
if parked and redis.call('SISMEMBER', KEYS[5], parked) == 1 then
  return 'busy'
end
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local listener = string.match(name, '^(.*)/state$')
  if listener and held(listener, now) then
    return 'busy'
  end
end
local edits = {}
for line in string.gmatch(redis.call('HGET', KEYS[1], 'edits') or '', '[^\n]+') do
  edits[#edits + 1] = line
end
edits[#edits + 1] = whole(now) .. ' ' .. ARGV[3]
redis.call('HSETNX', KEYS[1], 'original', entry)
redis.call('HSET', KEYS[1], 'entry', ARGV[2], 'edits', table.concat(edits, '\n', math.max(1, #edits - ARGV[4] + 1)))
return 'done'
