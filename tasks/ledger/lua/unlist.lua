-- unlist removes ids from asynq's lists whose task is gone: asynq counts a queue by
-- reading the first tasks of each list, and fails on a missing one.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2..] asynq's sets of delayed, archived and completed tasks
-- ARGV[1]   asynq's task key prefix
-- ARGV[2..] task ids
--
-- Returns how many were removed.
local gone = 0
for i = 2, #ARGV do
  if redis.call('EXISTS', ARGV[1] .. ARGV[i]) == 0 then
    local n = redis.call('LREM', KEYS[1], 0, ARGV[i])
    for j = 2, #KEYS do
      n = n + redis.call('ZREM', KEYS[j], ARGV[i])
    end
    if n > 0 then
      gone = gone + 1
    end
  end
end
return gone
