-- restore writes an account's record back from a worker that knows a newer epoch
-- than Redis does: a fail-over has lost it.
--
-- ARGV[1]   the epoch that the worker knows
-- ARGV[2..] pairs of field and value: the record as it was then
--
-- Returns {1 if the record was written, else 0; the record as it is now}.
if tonumber(ARGV[1]) <= epoch then
  return {0, redis.call('HGETALL', KEYS[1])}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('HSET', KEYS[1], 'version', math.max(tonumber(own.version or 0),
  tonumber(redis.call('HGET', KEYS[1], 'version') or 0)))
changed()
return {1, redis.call('HGETALL', KEYS[1])}
