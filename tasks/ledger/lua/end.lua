-- end records how a call ended, once: whoever comes second is told of the first.
--
-- KEYS[1]   asynq's active list
-- KEYS[2]   asynq's lease set
-- KEYS[3]   asynq's task
-- KEYS[4]   asynq's count of processed tasks of the day
-- KEYS[5]   asynq's count of processed tasks
-- KEYS[6]   asynq's archive
-- KEYS[7]   the call's record
-- KEYS[8]   the batch's counts in this queue
-- KEYS[9]   the batch's ended calls in this queue: id by microsecond
-- KEYS[10]  the queue's circuit record
-- KEYS[11]  the queue's dead letters: id by microsecond
-- KEYS[12]  the dead letters of the call's group: id by microsecond
-- KEYS[13]  the queue's groups: hash, group -> description
-- ARGV[1]   the call's id
-- ARGV[2]   the generation that the worker made
-- ARGV[3]   the new state: done, dropped or dead
-- ARGV[4]   1 to take the task off asynq's lists here (done, dropped); 0 where
--           asynq archives it next
-- ARGV[5]   1 if this is a real answer, which replaces an assumed ending
-- ARGV[6]   the group's name, or empty
-- ARGV[7]   the group's description, or empty
-- ARGV[8]   when asynq's count of the day expires, Unix seconds
-- ARGV[9]   archive entries that died before this, Unix seconds, are trimmed
-- ARGV[10]  how many archive entries are kept
-- ARGV[11]  asynq's task key prefix
-- ARGV[12..] pairs of record field and value
--
-- Returns {1, streak} when the ending was recorded, {0, 0} when the call had
-- ended before or moved on.

local trim = function(ids)
  for _, id in ipairs(ids) do
    redis.call('DEL', ARGV[11] .. id)
  end
  redis.call('ZREM', KEYS[6], unpack(ids))
end

local r = redis.call('HMGET', KEYS[7], 'state', 'gen', 'assumed', 'group', 'purged')
-- The first write of each way needs no memory: a script that has written may go
-- on when Redis is full.
if ARGV[4] == '1' then
  -- The task of a later generation is another worker's.
  if not r[2] or r[2] == ARGV[2] then
    redis.call('ZREM', KEYS[2], ARGV[1])
    if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then
      redis.call('DEL', KEYS[3])
      if redis.call('INCR', KEYS[4]) == 1 then
        redis.call('EXPIREAT', KEYS[4], ARGV[8])
      end
      redis.call('INCR', KEYS[5])
    end
  end
else
  redis.call('ZREM', KEYS[2], '')
  -- asynq trims its archive with a Lua unpack that fails on some thousands of
  -- old entries, for ever. So that it never has anything to trim, we do.
  repeat
    local old = redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', ARGV[9], 'LIMIT', 0, 1000)
    if #old > 0 then trim(old) end
  until #old < 1000
  local over = redis.call('ZCARD', KEYS[6]) - ARGV[10]
  while over > 0 do
    trim(redis.call('ZRANGE', KEYS[6], 0, math.min(over, 1000) - 1))
    over = over - 1000
  end
end

local before = r[1]
local replaces = before == 'dead' and r[3] == '1' and ARGV[5] == '1'
if r[2] ~= ARGV[2] or not (before == 'open' or replaces) then
  return {0, 0}
end
if replaces then
  local group = string.gsub(KEYS[11], 'dead$', 'd:') .. r[4]
  redis.call('ZREM', KEYS[11], ARGV[1])
  redis.call('ZREM', group, ARGV[1])
  if redis.call('EXISTS', group) == 0 then
    redis.call('HDEL', KEYS[13], r[4])
  end
  if ARGV[3] ~= 'dead' and redis.call('ZREM', KEYS[6], ARGV[1]) == 1 then
    redis.call('DEL', KEYS[3])
  end
end

-- Endings of a batch stand in one strict order, so that a reader can go on from
-- where it stopped.
local t = redis.call('TIME')
local counts = redis.call('HMGET', KEYS[8], 'last', before, ARGV[3])
local at = math.max(t[1] * 1000000 + t[2], tonumber(counts[1] or 0) + 1)
local score = string.format('%.0f', at)

if before ~= ARGV[3] then
  redis.call('HSET', KEYS[8], 'last', score, before, tonumber(counts[2] or 0) - 1, ARGV[3], tonumber(counts[3] or 0) + 1)
else
  redis.call('HSET', KEYS[8], 'last', score)
end
if replaces then
  redis.call('HDEL', KEYS[7], 'assumed', 'group')
end
redis.call('HSET', KEYS[7], 'state', ARGV[3], 'ended', score, unpack(ARGV, 12))
redis.call('ZADD', KEYS[9], score, ARGV[1])
-- Somebody has done with a dead letter that was purged, whatever its late answer.
if ARGV[3] == 'dead' and not r[5] then
  redis.call('ZADD', KEYS[11], score, ARGV[1])
  redis.call('ZADD', KEYS[12], score, ARGV[1])
  redis.call('HSET', KEYS[13], ARGV[6], ARGV[7])
end
return {1, tonumber(redis.call('HGET', KEYS[10], 'streak') or 0)}
