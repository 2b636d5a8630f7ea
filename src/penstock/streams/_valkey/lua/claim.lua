-- Takes over entries that nobody has touched for a while, and names those that are gone from the stream.
--
-- KEYS: 1 stream
-- ARGV: 1 group, 2 claimer, 3 least idle time in ms, 4 most entries, 5 where to begin, 6 of this consumer only ('' = any)
-- Answers the entries, the ids of those gone, and the last id looked at ('' when the pending list is through).
--
-- A script because XAUTOCLAIM drops entries that are gone without a trace (Redis 7), or answers holes for them (6.2), and
-- because between a look and an XCLAIM another one may claim. It looks at ten times as many as it may take, at most
-- 1,000, so that a long pending list never holds up the server.
local stream, group, claimer = KEYS[1], ARGV[1], ARGV[2]
local min_idle, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local page = math.max(most, math.min(most * 10, 1000))
local command = {'XPENDING', stream, group, ARGV[5], '+', page}
if ARGV[6] ~= '' then
  command[7] = ARGV[6]
end
local entries, gone, last = {}, {}, ''
local looked = redis.call(unpack(command))
for number, pending in ipairs(looked) do
  local entry_id, idle, deliveries = pending[1], pending[3], pending[4]
  if idle >= min_idle then
    local found = redis.call('XRANGE', stream, entry_id, entry_id)
    if #found > 0 then
      redis.call('XCLAIM', stream, group, claimer, 0, entry_id, 'RETRYCOUNT', deliveries + 1, 'JUSTID')
      entries[#entries + 1] = found[1]
    else
      gone[#gone + 1] = entry_id
    end
  end
  if #entries + #gone == most or (number == #looked and #looked == page) then
    last = entry_id
    break
  end
end
return {entries, gone, last}
