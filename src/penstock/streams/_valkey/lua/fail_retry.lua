-- Writes what a claimed retry ended with, and gives it back: due again, or failed. 0 when the token is not the present one.
--
-- KEYS: 1 to 4 see record
-- ARGV: 1 group (escaped), 2 entry id, 3 listener (escaped), 4 token, 5 cause, 6 error type, 7 error, 8 traceback,
--       9 wait in ms (-1 = failed)
--
-- A script because a former claimer must not change what another runs by now. The attempt was counted by the claim.
-- include record
if redis.call('HGET', KEYS[1], ARGV[3] .. '/token') ~= ARGV[4] then
  return 0
end
-- First what the memory limit refuses, so that the claim stays whole when it does.
redis.call('HSET', KEYS[1], ARGV[3] .. '/token', '')
note(ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), now_ms())
return 1
