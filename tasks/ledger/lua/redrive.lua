-- redrive opens an ended call again: a new generation with a fresh budget, the former
-- ending kept in its lineage, the task pending again. number.lua, counts.lua and
-- dead.lua are prepended to it.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2]   asynq's archive
-- KEYS[3]   asynq's lease set
-- KEYS[4]   asynq's task
-- KEYS[5]   the call's record
-- KEYS[6]   the batch's counts in this queue
-- KEYS[7]   the batch's ended calls in this queue
-- KEYS[8]   the queue's dead letters
-- KEYS[9]   the dead letters of the call's group
-- KEYS[10]  the queue's groups
-- KEYS[11]  asynq's scheduled set
-- KEYS[12]  asynq's retry set
-- KEYS[13]  the queue's deadlines
-- ARGV[1]   the call's id
-- ARGV[2]   the generation that ended
-- ARGV[3]   asynq's message
-- ARGV[4]   now in nanoseconds, as asynq writes it
-- ARGV[5]   the lineage, with the former ending
-- ARGV[6]   the group's name, or empty
-- ARGV[7]   the millisecond from which the call must not be sent any more, or empty
-- ARGV[8]   1 if a call that is done may be opened again too
-- ARGV[9]   the ledger's key prefix of the queue; see end.lua
-- ARGV[10]  the count of the requests until now, of which the log is removed
--
-- Returns 1 when the call is open again; 0 when it is open already, has moved on, or
-- was purged; -1 when a worker still holds its task: try again.
local r = redis.call('HMGET', KEYS[5], 'state', 'gen', 'content', 'batch')
local state = r[1]
if r[2] ~= ARGV[2] or not r[3] or
    not (state == 'dead' or state == 'dropped' or state == 'cancelled' or state == 'done' and ARGV[8] == '1') then
  return 0
end
if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  return -1
end
local bytes = redis.call('HSTRLEN', KEYS[5], 'body')
redis.call('HDEL', KEYS[5], 'out', 'body', 'freed', 'type', 'ended', 'group', 'assumed', 'sent', 'mark', 'no', 'given', 'starts', 'settled', 'attempts',
  'parked', 'first', 'held_base', 'held_own', 'parked_at', 'log', 'alone')
redis.call('HSET', KEYS[5], 'state', 'open', 'gen', ARGV[2] + 1, 'lineage', ARGV[5], 'earlier', ARGV[10])
ensure_type('hash', KEYS[6], KEYS[10])
ensure_type('zset', KEYS[7], KEYS[8])
tally(KEYS[6], state, -1)
tally(KEYS[6], 'open', 1)
add_batch_bodies(ARGV[9], r[4] or '', -bytes)
redis.call('ZREM', KEYS[7], ARGV[1])
leave_group(KEYS[8], KEYS[10], KEYS[9], ARGV[6], ARGV[1])
-- The task can be on any of asynq's lists: a cancelled call is still pending, and a
-- call whose worker was late may be due for a retry. It must not be on two.
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[11], ARGV[1])
redis.call('ZREM', KEYS[12], ARGV[1])
if ARGV[7] ~= '' then
  ensure_type('zset', KEYS[13])
  redis.call('ZADD', KEYS[13], ARGV[7], ARGV[1])
end
local waiting = redis.call('HGET', KEYS[4], 'state') == 'pending'
redis.call('HSET', KEYS[4], 'msg', ARGV[3], 'state', 'pending', 'pending_since', ARGV[4])
if not waiting then
  if redis.call('LPUSH', KEYS[1], ARGV[1]) == 1 then
    redis.call('PUBLISH', 'callq:news', KEYS[1]) -- wakes idle workers
  end
end
return 1
