-- reclaim returns the calls of a dead worker to pending, the one that was taken first
-- in front, and forgets the worker once it holds none. If the worker is alive after
-- all, it finds that it does not hold its calls any more: see mark.lua. requeue.lua is
-- prepended to it.
--
-- KEYS[1]   the account's workers, see beat.lua
-- KEYS[2..] for each of its queues: asynq's active list, lease set and pending list
-- ARGV[1]   the worker
-- ARGV[2]   its number, which did not change
-- ARGV[3]   now in nanoseconds, as asynq writes it
-- ARGV[4]   how many calls are returned at most
-- ARGV[5..] for each queue asynq's task key prefix and the record key prefix
--
-- Returns how many were returned; -1 when the number is another one: the worker is
-- alive, or its entry is gone.
--
-- Two kinds of calls are not returned: calls without a message, whose task has to be
-- created again, and calls that a version of callq took which notes no worker: their
-- leases end.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return -1
end
local left = tonumber(ARGV[4])
local back = 0
for q = 1, (#KEYS - 1) / 3 do
  local active, lease, pending = KEYS[3 * q - 1], KEYS[3 * q], KEYS[3 * q + 1]
  local task, record = ARGV[3 + 2 * q], ARGV[4 + 2 * q]
  for _, id in ipairs(redis.call('LRANGE', active, 0, -1)) do -- the call that was taken last comes first
    local noted = redis.pcall('HGET', task .. id, 'worker')
    if type(noted) == 'string' and string.match(noted, '^%S+') == ARGV[1] and back < left then
      local starts = redis.pcall('HGET', record .. id, 'starts')
      if noted == ARGV[1] .. ' ' .. (type(starts) == 'string' and starts or '0') and redis.call('HSTRLEN', task .. id, 'msg') > 0 then
        -- This write comes first because it needs no memory.
        redis.call('ZREM', lease, id)
        redis.call('LREM', active, 1, id)
        requeue(pending, task .. id, id, ARGV[3])
        back = back + 1
      end
    end
  end
end
if back < left then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
if back > 0 then
  redis.call('PUBLISH', 'callq:news', KEYS[1])
end
return back
