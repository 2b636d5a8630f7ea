-- Removes the first event of a key, which was handled, with its records. With the last one the key is open again.
--
-- KEYS: 1 to 4 see record, 5 to 9 see parked, 10 the lane's lease
-- ARGV: 1 to 3 see parked, 4 token, 5 fence
-- Answers 1, or 0 when the lease is not held or the entry is not the first any more; then nothing was changed.
--
-- A script because a key without events that still counted as parked would hold up its later ones for ever.
-- include record
-- include lease
-- include parked
if not holds(KEYS[10], ARGV[4], ARGV[5]) or not is_first() then
  return 0
end
drop_message()
return 1
