-- expired lists the tasks whose lease is over, as asynq's own script does, but
-- together with their ids, and also those whose message is gone or whose task is
-- something else.
--
-- KEYS[1]   asynq's lease set
-- ARGV[1]   leases that ended by then, Unix seconds by the asking worker's clock
-- ARGV[2]   asynq's task key prefix
--
-- Returns a list of id, message, id, message…; a message that is gone is empty.
local result = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])) do
  result[#result + 1] = id
  local msg = redis.pcall('HGET', ARGV[2] .. id, 'msg')
  result[#result + 1] = type(msg) == 'string' and msg or ''
end
return result
