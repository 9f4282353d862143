-- beat notes that a worker is alive, and returns what all workers of its accounts have
-- noted. A worker whose number does not change is dead, has stopped, or is cut off from
-- Redis. The caller measures for how long a number has not changed. The numbers are
-- counts, not times, so they depend on no clock.
--
-- KEYS      for each account its workers: hash, worker -> its number of beats
-- ARGV[1]   the worker
-- ARGV[2]   for how many seconds the hash is kept after the last write
--
-- Returns for each account its workers: worker, number, worker, number…
local result = {}
for n, key in ipairs(KEYS) do
  -- This write comes first because it needs no memory: a script that has written may go
  -- on when Redis is full. Workers are alive then too.
  local kept = redis.pcall('HDEL', key, '')
  if type(kept) == 'table' or type(redis.pcall('HINCRBY', key, ARGV[1], 1)) == 'table' then
    redis.call('DEL', key) -- callq did not write it
    redis.call('HINCRBY', key, ARGV[1], 1)
  end
  redis.call('EXPIRE', key, ARGV[2])
  result[n] = redis.call('HGETALL', key)
end
return result
