-- requeue stands in front of scripts that put the task of a call, which is on no list
-- any more, back among the pending: it is the next one there. now is in nanoseconds, as
-- asynq writes it.
local function requeue(pending, task, id, now)
  redis.call('HSET', task, 'state', 'pending', 'pending_since', now)
  redis.call('RPUSH', pending, id)
end
