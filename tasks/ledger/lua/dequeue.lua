-- dequeue stands in for asynq's own: it moves the next task from pending to
-- active, unless the queue is paused by an operator or held by its circuit. When
-- a hold is over it lets a single task out, whose worker then asks for the probe.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2]   asynq's pause mark, the operator's
-- KEYS[3]   asynq's active list
-- KEYS[4]   asynq's lease set
-- KEYS[5]   the queue's circuit record
-- ARGV[1]   end of the task's lease, Unix seconds
-- ARGV[2]   asynq's task key prefix
-- ARGV[3]   the record key prefix
-- ARGV[4]   for how many milliseconds a task that was let out after a hold keeps
--           the others back, unless its verdict comes first
--
-- Returns nil when there is nothing to do; {0, ms} when the queue is held for
-- that long; else {1, message, id, now, after a hold (0 or 1), epoch, streak,
-- open endpoint circuits, milliseconds held in all, starts, the record}.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return false
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local c = redis.call('HMGET', KEYS[5], 'state', 'until', 'turn', 'epoch', 'streak', 'endpoints', 'held', 'since')
local held, after_hold = tonumber(c[7] or 0), 0
if c[1] == 'open' then
  local wait = tonumber(c[2]) - now
  if wait <= 0 and c[3] then
    wait = tonumber(c[3]) - now
  end
  if wait > 0 then
    return {0, wait}
  end
  after_hold = 1
  held = held + now - tonumber(c[8] or now)
end
-- Tasks that ended while they waited (cancelled, or finished by a worker that
-- died before asynq was told) are taken off here and never reach a worker.
for _ = 1, 100 do
  local id = redis.call('RPOPLPUSH', KEYS[1], KEYS[3])
  if not id then
    return false
  end
  local task, record = ARGV[2] .. id, ARGV[3] .. id
  local msg = redis.call('HGET', task, 'msg')
  local record_fields = redis.call('HGETALL', record)
  local state
  for i = 1, #record_fields, 2 do
    if record_fields[i] == 'state' then
      state = record_fields[i + 1]
      break
    end
  end
  if not msg or (state and state ~= 'open') then
    redis.call('LREM', KEYS[3], 1, id)
    redis.call('DEL', task)
  else
    redis.call('HSET', task, 'state', 'active')
    redis.call('HDEL', task, 'pending_since')
    redis.call('ZADD', KEYS[4], ARGV[1], id)
    local starts = 0
    if state then
      starts = redis.call('HINCRBY', record, 'starts', 1)
    end
    if after_hold == 1 then
      redis.call('HSET', KEYS[5], 'turn', now + ARGV[4])
    end
    return {1, msg, id, now, after_hold, tonumber(c[4] or 0), tonumber(c[5] or 0), tonumber(c[6] or 0), held,
      starts, record_fields}
  end
end
return false
