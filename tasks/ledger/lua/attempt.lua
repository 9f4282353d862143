-- attempt records a decision that does not end the call: a retry, or a park, which
-- spends no attempt. requeue.lua is prepended to it.
--
-- A park puts the task back at the head of pending in the same step. The circuit holds
-- the queue, so the call costs nothing there, keeps its place, and leaves first when
-- the hold is over.
--
-- KEYS[1]   the call's record
-- KEYS[2]   the queue's circuit record
-- KEYS[3..] for a park: asynq's active list, lease set, pending list and task
-- ARGV[1]   the generation that the worker made
-- ARGV[2]   the call's starts when the worker took it
-- ARGV[3]   the name of its worker's mark; empty: the worker made none
-- ARGV[4]   for a park, how often the call was parked, including this time
-- ARGV[5]   for a park, the call's id
-- ARGV[6]   for a park, now in nanoseconds, as asynq writes it
-- ARGV[7..] pairs of record field and value
--
-- The mark of an earlier send is cleared, and its starts are marked as settled: the
-- worker survived the attempt.
--
-- Returns {1, streak} with the streak of account failures in the circuit's record, or
-- {0, 0} when the record has ended, does not exist any more, or moved on.
-- Running it twice, as after a lost reply, changes nothing.

local parks = #KEYS > 2
local r = redis.pcall('HMGET', KEYS[1], 'state', 'gen', 'starts', 'mark', 'parked')
if r.err or r[2] and r[2] ~= ARGV[1] or (r[3] or '0') ~= ARGV[2] or r[4] and r[4] ~= ARGV[3] then
  -- The call was taken again since: the task belongs to another worker. The count of
  -- starts alone does not show this if Redis has forgotten that this worker took the
  -- call.
  return {0, 0}
end
local open = r[1] == 'open'
local streak = tonumber(redis.pcall('HGET', KEYS[2], 'streak')) or 0
if parks and not (open and r[5] == ARGV[4]) then
  -- This write comes first because it needs no memory: a script that has written may go
  -- on when Redis is full.
  redis.call('ZREM', KEYS[4], ARGV[5])
  if redis.call('LREM', KEYS[3], 1, ARGV[5]) == 1 then
    if open then
      requeue(KEYS[5], KEYS[6], ARGV[5], ARGV[6])
    else
      redis.call('DEL', KEYS[6])
    end
  end
elseif parks then
  return {1, streak}
end
if not open then
  return {0, 0}
end
redis.call('HDEL', KEYS[1], 'sent', 'mark', 'no', 'given') -- this needs no memory either
redis.call('HSET', KEYS[1], 'settled', ARGV[2], unpack(ARGV, 7))
return {1, streak}
