-- cancel ends an open call that no worker is making; one whose state is none of
-- callq's is taken for open. In front of it stands books.lua.
--
-- KEYS[1]   asynq's lease set
-- KEYS[2]   asynq's scheduled set
-- KEYS[3]   asynq's retry set
-- KEYS[4]   asynq's task
-- KEYS[5]   the call's record
-- KEYS[6]   the batch's counts in this queue
-- KEYS[7]   the batch's ended calls in this queue
-- ARGV[1]   the call's id
-- ARGV[2]   the ending
--
-- Returns 1 when the call was cancelled, 0 when it had ended, -1 when a worker
-- is making it: it will end as it ends.
local state = redis.call('HGET', KEYS[5], 'state')
if not state or state == 'done' or state == 'dropped' or state == 'dead' or state == 'cancelled' then
  return 0
end
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return -1
end
-- A pending task stays where it is, since taking one out of a long list is slow;
-- the next dequeue that meets it takes it off.
local removed = redis.call('ZREM', KEYS[2], ARGV[1]) + redis.call('ZREM', KEYS[3], ARGV[1])
if removed > 0 then
  redis.call('DEL', KEYS[4])
end
own('hash', KEYS[6])
own('zset', KEYS[7])
local t = redis.call('TIME')
local at = math.max(t[1] * 1000000 + t[2], number(redis.call('HGET', KEYS[6], 'last')) + 1)
local score = string.format('%.0f', at)
redis.call('HSET', KEYS[5], 'state', 'cancelled', 'ended', score, 'out', ARGV[2])
tally(KEYS[6], 'open', -1)
tally(KEYS[6], 'cancelled', 1)
redis.call('HSET', KEYS[6], 'last', score)
redis.call('ZADD', KEYS[7], score, ARGV[1])
return 1
