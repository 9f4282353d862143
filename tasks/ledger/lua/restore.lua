-- restore makes the task of an open call again, where it is lost or where
-- somebody has put it away behind the ledger's back.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2]   asynq's lease set
-- KEYS[3]   asynq's archive
-- KEYS[4]   asynq's completed set
-- KEYS[5]   asynq's task
-- KEYS[6]   the call's record
-- ARGV[1]   the call's id
-- ARGV[2]   the generation that is open
-- ARGV[3]   asynq's message
-- ARGV[4]   now in nanoseconds, as asynq writes it
--
-- Returns 1 when the task is pending again, 0 when the call has moved on or its
-- task is where it should be.
local r = redis.call('HMGET', KEYS[6], 'state', 'gen')
local task = redis.call('HGET', KEYS[5], 'state') or ''
if r[1] ~= 'open' or r[2] ~= ARGV[2] or redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  return 0
end
if task ~= '' and task ~= 'archived' and task ~= 'completed' then
  return 0
end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HSET', KEYS[5], 'msg', ARGV[3], 'state', 'pending', 'pending_since', ARGV[4])
redis.call('LPUSH', KEYS[1], ARGV[1])
return 1
