-- redrive opens ended calls of one queue again: a new generation with a fresh budget, the
-- former ending kept in the lineage, the task pending again. Each call is checked by
-- itself. number.lua, counts.lua and dead.lua are prepended to it.
--
-- KEYS[1]   asynq's lease set
-- KEYS[2]   asynq's pending list
-- KEYS[3]   asynq's archive
-- KEYS[4]   asynq's scheduled set
-- KEYS[5]   asynq's retry set
-- KEYS[6]   the queue's dead letters
-- KEYS[7]   the queue's groups
-- KEYS[8]   the queue's deadlines
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   the ledger's key prefix of the queue; see end.lua
-- ARGV[3]   now in nanoseconds, as asynq writes it
-- ARGV[4]   1 if calls that are done may be opened again too
-- ARGV[5..] for each call, at most 100 of them:
--           its id
--           the generation that ended
--           asynq's message
--           the lineage, with the former ending
--           the millisecond from which the call must not be sent any more, or empty
--           the count of the requests until now, of which the log is removed
--
-- Returns for each call 1 when it is open again; 0 when it is open already, has moved on,
-- or was purged; -1 when a worker still holds its task: try again.
--
-- It reads before it writes, so that a failing read leaves everything as it was.
local may_open = {dead = true, dropped = true, cancelled = true, done = ARGV[4] == '1'}
local leased = redis.call('EXISTS', KEYS[1]) == 1
local calls, ids, result, opened, left = {}, {}, {}, {}, {}
for at = 5, #ARGV, 6 do
  local call = {id = ARGV[at], gen = ARGV[at + 1], message = ARGV[at + 2], lineage = ARGV[at + 3], deadline = ARGV[at + 4], earlier = ARGV[at + 5]}
  call.record, call.task = ARGV[2] .. 'c:' .. call.id, ARGV[1] .. call.id
  local r = redis.pcall('HMGET', call.record, 'state', 'gen', 'batch', 'group')
  if r.err or r[2] ~= call.gen or not may_open[r[1]] or opened[call.id] or redis.call('HSTRLEN', call.record, 'content') == 0 then
    result[#result + 1] = 0
  elseif leased and redis.call('ZSCORE', KEYS[1], call.id) then
    result[#result + 1] = -1
  else
    call.state, call.batch = r[1], r[3] or ''
    result[#result + 1], opened[call.id] = 1, true
    calls[#calls + 1], ids[#ids + 1] = call, call.id
    by_group(left, r[4], call.id)
  end
end
if #calls == 0 then
  return result
end

-- These writes come first because they need no memory: a script that has written may go
-- on when Redis is full.
ensure_type('zset', KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[8])
ensure_type('hash', KEYS[7])
ensure_type('list', KEYS[2])
for group, members in pairs(left) do
  leave_group(KEYS[6], KEYS[7], ARGV[2], group, members)
end
-- The task can be on any of asynq's lists: a cancelled call is still pending, and a
-- call whose worker was late may be due for a retry. It must not be on two.
redis.call('ZREM', KEYS[3], unpack(ids))
redis.call('ZREM', KEYS[4], unpack(ids))
redis.call('ZREM', KEYS[5], unpack(ids))

local batches, pushed, deadlines = {}, {}, {}
for _, call in ipairs(calls) do
  local b = batches[call.batch] or {ids = {}, bodies = 0, ended = {}}
  batches[call.batch] = b
  b.ids[#b.ids + 1] = call.id
  b.ended[call.state] = (b.ended[call.state] or 0) + 1
  b.bodies = b.bodies + redis.call('HSTRLEN', call.record, 'body')
  redis.call('HDEL', call.record, 'out', 'body', 'freed', 'type', 'ended', 'group', 'assumed', 'sent', 'mark', 'no', 'given', 'starts', 'settled',
    'attempts', 'parked', 'first', 'held_base', 'held_own', 'parked_at', 'log', 'alone')
  redis.call('HSET', call.record, 'state', 'open', 'gen', digits(call.gen + 1), 'lineage', call.lineage, 'earlier', call.earlier)
  if call.deadline ~= '' then
    deadlines[#deadlines + 1], deadlines[#deadlines + 2] = call.deadline, call.id
  end
  local was = redis.pcall('HGET', call.task, 'state')
  if type(was) == 'table' then -- callq did not write this
    redis.call('DEL', call.task)
  end
  redis.call('HSET', call.task, 'msg', call.message, 'state', 'pending', 'pending_since', ARGV[3])
  if was ~= 'pending' then
    pushed[#pushed + 1] = call.id
  end
end
for batch, b in pairs(batches) do
  local counts, ended = ARGV[2] .. 'b:' .. batch, ARGV[2] .. 'e:' .. batch
  ensure_type('hash', counts)
  ensure_type('zset', ended)
  for state, n in pairs(b.ended) do
    tally(counts, state, -n)
  end
  tally(counts, 'open', #b.ids)
  redis.call('ZREM', ended, unpack(b.ids))
  add_batch_bodies(ARGV[2], batch, -b.bodies)
end
if #deadlines > 0 then
  redis.call('ZADD', KEYS[8], unpack(deadlines))
end
if #pushed > 0 and redis.call('LPUSH', KEYS[2], unpack(pushed)) == #pushed then
  redis.call('PUBLISH', 'callq:news', KEYS[2]) -- wakes idle workers
end
return result
