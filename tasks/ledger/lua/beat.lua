-- beat notes that a worker lives, and tells what all workers of its accounts have
-- noted. A worker whose number stands still is dead, has stopped, or is cut off from
-- Redis; which of the numbers stood still for how long is for whoever asks to know.
-- They are counts and no times: no clock has a say in it.
--
-- KEYS      for each account its workers: hash, worker -> how often it has said so
-- ARGV[1]   the worker
-- ARGV[2]   for how many seconds the hash is kept once nobody writes to it
--
-- Returns for each account its workers: worker, number, worker, number…
local result = {}
for n, key in ipairs(KEYS) do
  -- First of the writes: it needs no memory, and a script that has written may go on
  -- when Redis is full. Workers live then too.
  local kept = redis.pcall('HDEL', key, '')
  if type(kept) == 'table' or type(redis.pcall('HINCRBY', key, ARGV[1], 1)) == 'table' then
    redis.call('DEL', key) -- somebody else wrote it
    redis.call('HINCRBY', key, ARGV[1], 1)
  end
  redis.call('EXPIRE', key, ARGV[2])
  result[n] = redis.call('HGETALL', key)
end
return result
