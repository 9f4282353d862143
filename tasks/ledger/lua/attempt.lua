-- attempt records an attempt that did not end the call: a retry, or a park.
--
-- KEYS[1]   asynq's lease set (see the first line of code)
-- KEYS[2]   the call's record
-- KEYS[3]   the queue's circuit record
-- ARGV[1]   the generation that the worker made
-- ARGV[2..] pairs of record field and value
--
-- The mark of an earlier send is cleared, and so is the count of starts: a
-- worker lived to tell.
--
-- Returns {1, streak} with the streak of account failures in the circuit's
-- record, or {0, 0} when the record has ended or moved on.

-- A script whose first write needs no memory may go on when Redis is full.
redis.call('ZREM', KEYS[1], '')
local r = redis.call('HMGET', KEYS[2], 'state', 'gen')
if r[1] ~= 'open' or r[2] ~= ARGV[1] then
  return {0, 0}
end
redis.call('HDEL', KEYS[2], 'sent', 'starts')
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
return {1, tonumber(redis.call('HGET', KEYS[3], 'streak') or 0)}
