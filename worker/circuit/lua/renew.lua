-- renew lengthens a probe's lease while its worker works on it. The script begins with
-- prelude.lua.
--
-- ARGV[1]   the probe's token
-- ARGV[2]   the epoch in which it was admitted
-- ARGV[3]   how long the new lease is, from now, in ms
-- ARGV[4]   1 if the worker has renewed the lease in time until now: then it may take the
--           probe of a record that was written back without the token
--
-- Returns 1, or 0 if another call has the probe, or its verdict is recorded.
if state ~= 'open' or epoch ~= tonumber(ARGV[2]) or own.token ~= ARGV[1] and not (own.token == 'unknown' and ARGV[4] == '1') then
  return 0
end
-- This write comes first because it needs no memory, though it removes nothing: a script
-- that has written once may continue when Redis is full.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'lease', now + ARGV[3], 'turn', now + ARGV[3])
return 1
