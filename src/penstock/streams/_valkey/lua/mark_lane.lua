-- Opens or closes a partition for the entries of one layout.
--
-- KEYS: 1 mark of the partition
-- ARGV: 1 epoch of the layout, 2 open or closed
-- Answers whether the partition is in that state under that epoch now.
--
-- A script because a late opener must not open what was closed or belongs to a later layout. `append` reads the mark in the
-- script that adds, so that after closing nothing comes in. Epochs are compared as numbers: they are below 2^53.
local mark = redis.call('HMGET', KEYS[1], 'epoch', 'state')
local marked, epoch = tonumber(mark[1] or '0'), tonumber(ARGV[1])
if marked > epoch then
  return 0
end
if marked == epoch and mark[2] == 'closed' then
  return ARGV[2] == 'closed' and 1 or 0
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'state', ARGV[2])
return 1
