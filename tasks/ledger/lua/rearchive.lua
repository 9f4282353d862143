-- rearchive puts a dead letter that asynq's tools have run, and that cannot be
-- redriven, back into asynq's archive.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2]   asynq's archive
-- KEYS[3]   asynq's task
-- KEYS[4]   the call's record
-- ARGV[1]   the call's id
-- ARGV[2]   the generation that is dead
--
-- Returns 1 when it is there, 0 when the call has moved on.
local r = redis.call('HMGET', KEYS[4], 'state', 'gen')
if r[1] ~= 'dead' or r[2] ~= ARGV[2] or redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[3], 'state', 'archived')
redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])
return 1
