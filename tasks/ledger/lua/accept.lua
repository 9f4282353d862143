-- accept takes calls of one batch into one queue: it writes the ledger's open record,
-- the batch's count and asynq's task together or not at all. counts.lua and life.lua
-- are prepended to it.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2]   asynq's scheduled set
-- KEYS[3]   the batch's counts in this queue
-- KEYS[4]   the queue's deadlines: id by the millisecond from which the call must not
--           be sent any more
-- KEYS[5]   the queue's fence, see fence.lua. It is created with the first call, so
--           that a copy of Redis's data with calls and without marks can be recognized
--           as a copy
-- ARGV[1]   now in nanoseconds, as asynq writes it for its latency figures
-- ARGV[2]   asynq's task key prefix
-- ARGV[3]   the record key prefix
-- ARGV[4]   the batch's name
-- ARGV[5]   for each of these calls its position, from 1, and that millisecond
-- ARGV[..]  sextuples of id, asynq's message, content, call key, content hash,
--           due time in Unix seconds (0: now); at most 1,000
--
-- Returns a list with, for each call, 1 if it was accepted and 0 if it has a
-- record already.
--
-- Producers send a million calls through this script, so it reads and writes for all
-- calls at once wherever it can.
local t = redis.call('TIME')
local now = t[1] .. string.format('%03d', math.floor(t[2] / 1000))
local records, tasks = {}, {}
local first = 6 + 2 * ARGV[5]
for i = first, #ARGV, 6 do
  records[#records + 1] = ARGV[3] .. ARGV[i]
  tasks[#tasks + 1] = ARGV[2] .. ARGV[i]
end
-- Usually none exists, and one EXISTS is enough.
local known = redis.call('EXISTS', unpack(records)) > 0
local orphans = redis.call('EXISTS', unpack(tasks)) > 0
local result, seen, accepted, pending = {}, {}, 0, {}
for n, record in ipairs(records) do
  local i = first + 6 * (n - 1)
  local id = ARGV[i]
  if seen[id] or (known and redis.pcall('HGET', record, 'batch')) then -- every record has a batch
    result[n] = 0
  else
    seen[id] = true
    redis.call('HSET', record, 'state', 'open', 'gen', '1', 'batch', ARGV[4],
      'origin', ARGV[i + 4] .. ' ' .. now .. ' ' .. ARGV[i + 3], 'content', ARGV[i + 2])
    -- A task without a record is on one of asynq's lists already.
    if not (orphans and redis.call('EXISTS', tasks[n]) == 1) then
      if ARGV[i + 5] == '0' then
        redis.call('HSET', tasks[n], 'msg', ARGV[i + 1], 'state', 'pending', 'pending_since', ARGV[1])
        pending[#pending + 1] = id
      else
        redis.call('HSET', tasks[n], 'msg', ARGV[i + 1], 'state', 'scheduled')
        redis.call('ZADD', KEYS[2], ARGV[i + 5], id)
      end
    end
    accepted = accepted + 1
    result[n] = 1
  end
end
local deadlines = {}
for i = 6, first - 1, 2 do
  local n = tonumber(ARGV[i])
  if result[n] == 1 then
    deadlines[#deadlines + 1], deadlines[#deadlines + 2] = ARGV[i + 1], ARGV[first + 6 * (n - 1)]
  end
end
if #deadlines > 0 then
  ensure_type('zset', KEYS[4])
  redis.call('ZADD', KEYS[4], unpack(deadlines))
end
local waiting = 0
if #pending > 0 then
  waiting = redis.call('LPUSH', KEYS[1], unpack(pending)) - #pending
end
if accepted > 0 then
  if waiting == 0 then
    redis.call('PUBLISH', 'callq:news', KEYS[1]) -- wakes idle workers
  end
  ensure_type('hash', KEYS[3], KEYS[5])
  if redis.call('EXISTS', KEYS[5]) == 0 then
    begin_fence(KEYS[5], run(), t)
  end
  tally(KEYS[3], 'accepted', accepted)
  tally(KEYS[3], 'open', accepted)
end
return result
