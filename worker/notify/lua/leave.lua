-- leave gives a lease back, if the process still has it.
--
-- KEYS[1]   the lease
-- ARGV[1]   the name of the process
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 0
