-- park records that a call was put back without having spent an attempt, and
-- puts its task back at the head of pending. Its queue is held by its circuit, so
-- there it costs nothing, keeps its place, and is the first to go when the hold
-- is over.
--
-- KEYS[1]   asynq's active list
-- KEYS[2]   asynq's lease set
-- KEYS[3]   asynq's pending list
-- KEYS[4]   asynq's task
-- KEYS[5]   the call's record
-- KEYS[6]   the queue's circuit record
-- ARGV[1]   the call's id
-- ARGV[2]   the generation that the worker made
-- ARGV[3]   now in nanoseconds, as asynq writes it
-- ARGV[4]   how often the call was parked, this time counted
-- ARGV[5]   the call's starts when the worker took it
-- ARGV[6]   what tells its worker's mark from another's; empty: it made none
-- ARGV[7..] pairs of record field and value
--
-- Returns {1, streak} with the streak of account failures in the circuit's
-- record, or {0, 0} when the record has ended, is none any more, or moved on.
-- Running it twice, as after a lost reply, changes nothing.

local r = redis.pcall('HMGET', KEYS[5], 'state', 'gen', 'parked', 'starts', 'mark')
if r.err or (r[2] and r[2] ~= ARGV[2]) or (r[4] or '0') ~= ARGV[5] or r[5] and r[5] ~= ARGV[6] then
  -- Taken again since: the task is another worker's. The count of starts alone does
  -- not tell where Redis had forgotten that this worker took the call.
  return {0, 0}
end
local streak = tonumber(redis.pcall('HGET', KEYS[6], 'streak')) or 0
if r[1] == 'open' and r[3] == ARGV[4] then
  return {1, streak}
end
-- First of the writes: it needs no memory, and a script that has written may go
-- on when Redis is full.
redis.call('ZREM', KEYS[2], ARGV[1])
local active = redis.call('LREM', KEYS[1], 1, ARGV[1])
if r[1] ~= 'open' then
  if active == 1 then
    redis.call('DEL', KEYS[4])
  end
  return {0, 0}
end
if active == 1 then
  redis.call('HSET', KEYS[4], 'state', 'pending', 'pending_since', ARGV[3])
  redis.call('RPUSH', KEYS[3], ARGV[1])
end
redis.call('HDEL', KEYS[5], 'sent', 'mark', 'no', 'given')
redis.call('HSET', KEYS[5], 'settled', ARGV[5], unpack(ARGV, 7))
return {1, streak}
