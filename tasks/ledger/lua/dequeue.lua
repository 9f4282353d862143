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
-- open endpoint circuits, milliseconds held in all, record fields…}.
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
  local r = redis.call('HMGET', record, 'state', 'gen', 'batch', 'origin', 'content',
    'starts', 'attempts', 'parked', 'first', 'held_base', 'held_own', 'parked_at', 'sent', 'log')
  if not msg or (r[1] and r[1] ~= 'open') then
    redis.call('LREM', KEYS[3], 1, id)
    redis.call('DEL', task)
  else
    redis.call('HSET', task, 'state', 'active')
    redis.call('HDEL', task, 'pending_since')
    redis.call('ZADD', KEYS[4], ARGV[1], id)
    if r[1] then
      r[6] = redis.call('HINCRBY', record, 'starts', 1)
    end
    if after_hold == 1 then
      redis.call('HSET', KEYS[5], 'turn', now + ARGV[4])
    end
    local reply = {1, msg, id, now, after_hold, tonumber(c[4] or 0), tonumber(c[5] or 0), tonumber(c[6] or 0), held}
    for i = 1, 14 do
      reply[#reply + 1] = r[i] or ''
    end
    return reply
  end
end
return false
