-- restore writes an account's record back from a worker that has read a newer epoch than
-- Redis has: Redis has lost the record in a fail-over.
--
-- ARGV[1]   the epoch that the worker has read
-- ARGV[2]   how long the lease of an unknown probe lasts if it is not renewed, in ms
-- ARGV[3..] pairs of field and value: the record as it was then
--
-- Returns {1 if the record was written, else 0; the record as it is now}.
if tonumber(ARGV[1]) <= epoch then
  return {0, redis.call('HGETALL', KEYS[1])}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
local r = redis.call('HMGET', KEYS[1], 'state', 'until')
redis.call('HDEL', KEYS[1], 'token', 'lease', 'turn')
if r[1] == 'open' and tonumber(r[2]) <= now then
  -- A probe may be out, and this worker may have read another token, or none. The
  -- probe's own worker writes the right token when it renews the lease.
  redis.call('HSET', KEYS[1], 'token', 'unknown', 'lease', now + ARGV[2], 'turn', now + ARGV[2])
end
redis.call('HSET', KEYS[1], 'version', math.max(tonumber(own.version or 0),
  tonumber(redis.call('HGET', KEYS[1], 'version') or 0)))
changed()
return {1, redis.call('HGETALL', KEYS[1])}
