-- retries moves the calls of a queue whose retry is due to the pending list. It
-- replaces asynq's own script, which puts them behind all others: a backoff of 2 s
-- would then take as long as the whole queue. A retry goes in front of the next call
-- that no retry has passed yet, so that the others get at least half of the places.
--
-- Calls at the head that were taken before, such as parked ones, stay there. Delayed
-- tasks of other kinds, which made no attempt or wait for their endpoint, go to the
-- end, where asynq puts them. number.lua is prepended to it.
--
-- KEYS[1]   asynq's retry set
-- KEYS[2]   asynq's pending list
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   the record key prefix
-- ARGV[3]   asynq's group key prefix
-- ARGV[4]   now, Unix seconds
-- ARGV[5]   now in nanoseconds, as asynq writes it
--
-- Returns how many were moved. Retries that find no place among the next calls stay in
-- the set until some of these have left.
local max, window = 100, 1000
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[4], 'LIMIT', 0, max)
if #due == 0 then
  return 0
end

local retries, others = {}, {}
for _, id in ipairs(due) do
  local r = redis.pcall('HMGET', ARGV[2] .. id, 'attempts', 'parked_at')
  local retry = number(r[1]) > 0 and number(r[2]) == 0
  local list = retry and retries or others
  list[#list + 1] = id
end

-- order is the new beginning of the list, the next call first.
local order, seen, placed, passed, in_front, ended = {}, 0, 0, {}, true, false
while placed < #retries and seen < window and not ended do
  local ids = redis.call('LRANGE', KEYS[2], -seen - 50, -seen - 1)
  ended = #ids < 50
  for i = #ids, 1, -1 do
    local id = ids[i]
    local r = redis.pcall('HMGET', ARGV[2] .. id, 'attempts', 'starts')
    local retry = number(r[1]) > 0
    in_front = in_front and number(r[2]) > 0
    if placed < #retries and not retry and not in_front and not redis.call('HGET', ARGV[1] .. id, 'passed') then
      placed = placed + 1
      order[#order + 1], passed[#passed + 1] = retries[placed], id
    end
    order[#order + 1] = id
  end
  seen = seen + #ids
end
while ended and placed < #retries do
  placed = placed + 1
  order[#order + 1] = retries[placed]
end

-- The removal is the first write because it needs no memory: a script that has written
-- may go on when Redis is full.
local function pending(id)
  redis.call('ZREM', KEYS[1], id)
  redis.call('HSET', ARGV[1] .. id, 'state', 'pending', 'pending_since', ARGV[5])
end
for i = 1, placed do
  pending(retries[i])
end
if placed > 0 then
  redis.call('LTRIM', KEYS[2], 0, -seen - 1)
  for i = #order, 1, -1 do
    redis.call('RPUSH', KEYS[2], order[i])
  end
  for _, id in ipairs(passed) do
    if redis.call('EXISTS', ARGV[1] .. id) == 1 then
      redis.call('HSET', ARGV[1] .. id, 'passed', 1)
    end
  end
end
for _, id in ipairs(others) do
  local group = redis.call('HGET', ARGV[1] .. id, 'group')
  if group and group ~= '' then
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', ARGV[3] .. group, ARGV[4], id)
    redis.call('HSET', ARGV[1] .. id, 'state', 'aggregating')
  else
    pending(id)
    redis.call('LPUSH', KEYS[2], id)
  end
end
return placed + #others
