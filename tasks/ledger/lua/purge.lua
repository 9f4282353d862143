-- purge removes the bodies of dead letters of one queue and keeps their endings; their
-- batches go on counting them as dead. Each call is checked by itself. number.lua,
-- counts.lua and dead.lua are prepended to it.
--
-- KEYS[1]   asynq's lease set
-- KEYS[2]   asynq's archive
-- KEYS[3]   the queue's dead letters
-- KEYS[4]   the queue's groups
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   the ledger's key prefix of the queue; see end.lua
-- ARGV[3..] for each call, at most 100 of them:
--           its id
--           the generation that ended
--           the count of the call's requests, of which the log is removed
--
-- Returns for each call 1 when it was purged, now or before; 0 when it is not a dead
-- letter or has moved on; -1 when a worker still holds its task: try again.
--
-- It reads before it writes, so that a failing read leaves everything as it was.
local leased = redis.call('EXISTS', KEYS[1]) == 1
local calls, result, purged, left = {}, {}, {}, {}
for at = 3, #ARGV, 3 do
  local call = {id = ARGV[at], gen = ARGV[at + 1], earlier = ARGV[at + 2]}
  call.record = ARGV[2] .. 'c:' .. call.id
  local r = redis.pcall('HMGET', call.record, 'state', 'gen', 'batch', 'group')
  if r.err or r[1] ~= 'dead' or r[2] ~= call.gen then
    result[#result + 1] = 0
  elseif leased and redis.call('ZSCORE', KEYS[1], call.id) then
    result[#result + 1] = -1
  else
    result[#result + 1] = 1
    if not purged[call.id] then
      purged[call.id], call.batch = true, r[3] or ''
      calls[#calls + 1] = call
      by_group(left, r[4], call.id)
    end
  end
end
if #calls == 0 then
  return result
end

-- These writes come first because they need no memory: a script that has written may go
-- on when Redis is full.
ensure_type('zset', KEYS[2], KEYS[3])
ensure_type('hash', KEYS[4])
for group, members in pairs(left) do
  leave_group(KEYS[3], KEYS[4], ARGV[2], group, members)
end
local bodies, tasks = {}, {}
for _, call in ipairs(calls) do
  bodies[call.batch] = (bodies[call.batch] or 0) + redis.call('HSTRLEN', call.record, 'body')
  redis.call('HDEL', call.record, 'content', 'body', 'type', 'log', 'lineage')
  redis.call('HSET', call.record, 'purged', '1', 'earlier', call.earlier)
  if redis.call('ZREM', KEYS[2], call.id) == 1 then
    tasks[#tasks + 1] = ARGV[1] .. call.id
  end
end
if #tasks > 0 then
  redis.call('DEL', unpack(tasks))
end
for batch, n in pairs(bodies) do
  add_batch_bodies(ARGV[2], batch, -n)
end
return result
