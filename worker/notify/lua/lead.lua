-- lead takes or renews a lease. While one process has it, no other gets it.
--
-- KEYS[1]   the lease
-- ARGV[1]   the name of the process
-- ARGV[2]   for how many milliseconds
--
-- Returns {1 if the process has the lease, else 0; Redis's clock in microseconds}.
local t = redis.call('TIME')
local holder = redis.call('GET', KEYS[1])
local mine = not holder or holder == ARGV[1]
if mine then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return {mine and 1 or 0, t[1] .. string.format('%06d', t[2])}
