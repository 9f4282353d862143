-- restore makes the task of an open call again, where it is lost or where
-- somebody has put it away behind the ledger's back.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2]   asynq's lease set
-- KEYS[3]   asynq's active list
-- KEYS[4]   asynq's task
-- KEYS[5]   the call's record
-- KEYS[6..] asynq's sets of tasks that wait or are put away
-- ARGV[1]   the call's id
-- ARGV[2]   the generation that is open
-- ARGV[3]   asynq's message
-- ARGV[4]   now in nanoseconds, as asynq writes it
-- ARGV[5]   leases that ended by then are over, Unix seconds
--
-- Returns 1 when the task is pending again, 0 when the call has moved on or its
-- task is where it should be.
local r = redis.call('HMGET', KEYS[5], 'state', 'gen')
local state = redis.pcall('HGET', KEYS[4], 'state') or ''
local odd = type(state) ~= 'string' -- something else stands in the task's place
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
if r[1] ~= 'open' or r[2] ~= ARGV[2] or (lease and tonumber(lease) > tonumber(ARGV[5])) then
  return 0
end
local stands = {
  pending = function() return redis.call('LPOS', KEYS[1], ARGV[1]) end,
  active = function() return lease or redis.call('LPOS', KEYS[3], ARGV[1]) end, -- asynq's recovery, and release
  scheduled = function() return redis.call('ZSCORE', KEYS[6], ARGV[1]) end,
  retry = function() return redis.call('ZSCORE', KEYS[7], ARGV[1]) end,
}
if not odd and stands[state] and stands[state]() then
  return 0
end
-- A lost task can have left its id behind, and no call may stand in line twice.
redis.call('LREM', KEYS[1], 0, ARGV[1])
redis.call('LREM', KEYS[3], 0, ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
for i = 6, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[1])
end
if odd then
  redis.call('DEL', KEYS[4])
end
redis.call('HSET', KEYS[4], 'msg', ARGV[3], 'state', 'pending', 'pending_since', ARGV[4])
redis.call('LPUSH', KEYS[1], ARGV[1])
return 1
