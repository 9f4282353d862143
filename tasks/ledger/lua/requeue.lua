-- requeue is prepended to scripts that return a task which is on no list to pending: it
-- becomes the next one there. now is in nanoseconds, as asynq writes it.
local function requeue(pending, task, id, now)
  redis.call('HSET', task, 'state', 'pending', 'pending_since', now)
  redis.call('RPUSH', pending, id)
end
