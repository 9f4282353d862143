-- trim takes tasks off asynq's archive that asynq itself would trim, a thousand at
-- a time where asynq takes all at once, which fails on some thousands.
--
-- KEYS[1]   asynq's archive
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   those that died before this, Unix seconds, go
-- ARGV[3]   how many are kept at most
--
-- Returns how many were taken off, at most a thousand: run it again until none was.
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, 1000)
if #ids == 0 then
  local over = redis.call('ZCARD', KEYS[1]) - ARGV[3]
  if over > 0 then
    ids = redis.call('ZRANGE', KEYS[1], 0, math.min(over, 1000) - 1)
  end
end
if #ids > 0 then
  redis.call('ZREM', KEYS[1], unpack(ids))
  for _, id in ipairs(ids) do
    redis.call('DEL', ARGV[1] .. id)
  end
end
return #ids
