-- release returns tasks to pending that are on the active list without a lease, or with
-- one that is over. asynq looks for orphaned tasks only among the leases, and takes
-- back only tasks that it can decode, so it would leave these there for ever.
-- requeue.lua is prepended to it.
--
-- KEYS[1]   asynq's active list
-- KEYS[2]   asynq's lease set
-- KEYS[3]   asynq's pending list
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   now in nanoseconds, as asynq writes it
-- ARGV[3]   leases that end no later than this are over, Unix seconds; 0: none is
-- ARGV[4..] task ids
--
-- Returns how many were returned to pending.
local released = 0
for i = 4, #ARGV do
  local id, task = ARGV[i], ARGV[1] .. ARGV[i]
  local lease = redis.call('ZSCORE', KEYS[2], id)
  if not lease or tonumber(lease) <= tonumber(ARGV[3]) then
    redis.call('ZREM', KEYS[2], id)
    if redis.call('LREM', KEYS[1], 1, id) == 1 then
      if redis.call('EXISTS', task) == 1 then
        requeue(KEYS[3], task, id, ARGV[2])
      end
      released = released + 1
    end
  end
end
return released
