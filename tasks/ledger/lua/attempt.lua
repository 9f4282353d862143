-- attempt records an attempt that did not end the call: a retry, or a park.
--
-- KEYS[1]   the call's record
-- KEYS[2]   the queue's circuit record
-- ARGV[1]   the generation that the worker made
-- ARGV[2]   the call's starts when the worker took it
-- ARGV[3]   what tells its worker's mark from another's; empty: it made none
-- ARGV[4..] pairs of record field and value
--
-- The mark of an earlier send is cleared, and its starts are settled: a worker
-- lived to tell.
--
-- Returns {1, streak} with the streak of account failures in the circuit's
-- record, or {0, 0} when the record has ended, is none any more, or moved on.

local r = redis.pcall('HMGET', KEYS[1], 'state', 'gen', 'starts', 'mark')
if r.err or r[1] ~= 'open' or r[2] ~= ARGV[1] or (r[3] or '0') ~= ARGV[2]
  or r[4] and r[4] ~= ARGV[3] then -- of another worker: Redis had forgotten that this one took the call
  return {0, 0}
end
-- First of the writes: it needs no memory, and a script that has written may go
-- on when Redis is full.
redis.call('HDEL', KEYS[1], 'sent', 'mark', 'no', 'given')
redis.call('HSET', KEYS[1], 'settled', ARGV[2], unpack(ARGV, 4))
return {1, tonumber(redis.pcall('HGET', KEYS[2], 'streak')) or 0}
