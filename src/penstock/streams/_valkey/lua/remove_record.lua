-- Removes one record, and the payload with the message's last; 0 when it is not there or the token not the present one.
-- One that is parked stays; then the answer is its key, in a list of one.
--
-- KEYS: 1 to 4 see record
-- ARGV: 1 group (escaped), 2 entry id, 3 listener (escaped), 4 token ('' = a person asks, whoever runs it)
--
-- A script because a former claimer must not remove what another runs by now.
-- include record
if ARGV[4] ~= '' and redis.call('HGET', KEYS[1], ARGV[3] .. '/token') ~= ARGV[4] then
  return 0
end
if redis.call('HGET', KEYS[1], ARGV[3] .. '/state') == 'parked' then
  return {redis.call('HGET', KEYS[1], 'parked')}
end
return erase(ARGV[2], ARGV[3])
