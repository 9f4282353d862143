-- renew lengthens a probe's lease, for as long as its worker lives and works on it. In
-- front of it stands prelude.lua.
--
-- ARGV[1]   the probe's token
-- ARGV[2]   the epoch in which it was let out
-- ARGV[3]   for how long from now on the probe may be silent before it counts as lost,
--           in ms
-- ARGV[4]   1 if its worker knows that the lease was not over until now: then a record
--           that was written back, and does not say whose the probe is, is put right
--
-- Returns 1, or 0 where the probe is another's by now, or its verdict is known.
if state ~= 'open' or epoch ~= tonumber(ARGV[2]) or own.token ~= ARGV[1] and not (own.token == 'unknown' and ARGV[4] == '1') then
  return 0
end
-- First of the writes, though it removes nothing: it needs no memory, and a script that
-- has written may go on when Redis is full.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'lease', now + ARGV[3], 'turn', now + ARGV[3])
return 1
