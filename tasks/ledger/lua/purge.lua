-- purge removes the bodies of a dead letter and keeps its ending; the batch goes on
-- counting it as dead. number.lua, counts.lua and dead.lua are prepended to it.
--
-- KEYS[1]   asynq's archive
-- KEYS[2]   asynq's lease set
-- KEYS[3]   asynq's task
-- KEYS[4]   the call's record
-- KEYS[5]   the queue's dead letters
-- KEYS[6]   the dead letters of the call's group
-- KEYS[7]   the queue's groups
-- ARGV[1]   the call's id
-- ARGV[2]   the generation that ended
-- ARGV[3]   the group's name
-- ARGV[4]   the ledger's key prefix of the queue; see end.lua
-- ARGV[5]   the count of the call's requests, of which the log is removed
--
-- Returns 1 when it was purged; 0 when it is not a dead letter or has moved on; -1 when
-- a worker still holds its task: try again.
local r = redis.call('HMGET', KEYS[4], 'state', 'gen', 'batch')
if r[1] ~= 'dead' or r[2] ~= ARGV[2] then
  return 0
end
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  return -1
end
local bytes = redis.call('HSTRLEN', KEYS[4], 'body')
redis.call('HDEL', KEYS[4], 'content', 'body', 'type', 'log', 'lineage')
redis.call('HSET', KEYS[4], 'purged', 1, 'earlier', ARGV[5])
add_batch_bodies(ARGV[4], r[3] or '', -bytes)
ensure_type('zset', KEYS[1], KEYS[5])
ensure_type('hash', KEYS[7])
leave_group(KEYS[5], KEYS[7], KEYS[6], ARGV[3], ARGV[1])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
  redis.call('DEL', KEYS[3])
end
return 1
