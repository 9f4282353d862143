-- expire forgets ended calls of a batch whose retention is over, and goes on counting
-- them. Dead letters wait for a person and stay until they are purged. Calls whose task
-- is still on a list stay too: without its record the task would look foreign.
-- number.lua, counts.lua and dead.lua are prepended to it.
--
-- KEYS[1]   the batch's counts in this queue
-- KEYS[2]   the batch's ended calls in this queue
-- KEYS[3]   asynq's lease set
-- KEYS[4]   asynq's archive
-- KEYS[5]   the queue's dead letters
-- KEYS[6]   the queue's groups
-- KEYS[7]   asynq's pending list
-- ARGV[1]   the record key prefix
-- ARGV[2]   only calls that ended before this microsecond, or +inf
-- ARGV[3]   how many to look at
-- ARGV[4]   1 to do so only while nothing of the batch is open
-- ARGV[5]   look at calls that ended after this microsecond, or -inf
-- ARGV[6]   asynq's task key prefix
-- ARGV[7]   1 to forget dead letters too, and to remove tasks from the lists, unless a
--           worker still holds them
-- ARGV[8]   the ledger's key prefix of the queue; see end.lua
-- ARGV[9]   the batch's name
--
-- Returns {how many were looked at, last microsecond looked at, call keys…}, where the
-- keys are those of the calls that were forgotten.
ensure_type('hash', KEYS[1])
ensure_type('zset', KEYS[2])
if ARGV[4] == '1' and number(redis.call('HGET', KEYS[1], 'open')) > 0 then
  return {0, ARGV[5]}
end
local ids = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[5], ARGV[2], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local result = {#ids / 2, ARGV[5]}
-- Finding a task in a long list is slow. It stays there, and the next dequeue that
-- meets it removes it.
local all, short, bytes = ARGV[7] == '1', false, 0
if all then
  ensure_type('zset', KEYS[3], KEYS[4], KEYS[5])
  ensure_type('hash', KEYS[6])
  short = redis.call('LLEN', KEYS[7]) <= 5000
end
for i = 1, #ids, 2 do
  local record, task = ARGV[1] .. ids[i], ARGV[6] .. ids[i]
  local r = redis.call('HMGET', record, 'state', 'origin', 'purged', 'group')
  local dead = r[1] == 'dead'
  local goes = not dead or r[3]
  result[2] = ids[i + 1]
  if all and not redis.call('ZSCORE', KEYS[3], ids[i]) then
    goes = true
    -- asynq's archive is a view of the dead letters, and the task of a cancelled call
    -- may still be pending.
    if redis.call('EXISTS', task) == 1 and
        (redis.call('ZREM', KEYS[4], ids[i]) == 1 or short and redis.call('LREM', KEYS[7], -1, ids[i]) > 0) then
      redis.call('DEL', task)
    end
  end
  if goes and redis.call('EXISTS', task) == 0 then
    bytes = bytes + redis.call('HSTRLEN', record, 'body')
    redis.call('DEL', record)
    redis.call('ZREM', KEYS[2], ids[i])
    tally(KEYS[1], 'expired', 1)
    if dead then
      tally(KEYS[1], 'expired_dead', 1)
    end
    if dead and all then
      leave_group(KEYS[5], KEYS[6], ARGV[8], r[4] or '', {ids[i]})
    end
    result[#result + 1] = string.match(r[2] or '', '^%S+ %S+ (.*)$') or ''
  end
end
add_batch_bodies(ARGV[8], ARGV[9], -bytes)
return result
