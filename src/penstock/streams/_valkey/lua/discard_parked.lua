-- Removes parked records of an event that waits under a key: one listener's, or all of them and the event with them.
--
-- KEYS: 1 to 4 see record, 5 to 9 see parked
-- ARGV: 1 to 3 see parked, 4 listener (escaped; '' = all)
-- Answers 1, or 0 when the event, or the record, does not wait there; then nothing was changed.
--
-- A script because a key without events that still counted as parked would hold up its later ones for ever.
-- include record
-- include parked
local function is_parked(listener)
  return redis.call('HGET', KEYS[1], listener .. '/state') == 'parked'
end
if redis.call('HGET', KEYS[1], 'parked') ~= ARGV[3] or (ARGV[4] ~= '' and not is_parked(ARGV[4])) then
  return 0
end
if ARGV[4] == '' then
  drop_message()
  return 1
end
drop_record(ARGV[4])
if #parked_listeners() == 0 then
  leave_line()
end
return 1
