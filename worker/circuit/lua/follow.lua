-- follow updates the copy of an account's record for another queue of the upstream. The
-- version decides, so that copies may be written late and out of order.
--
-- KEYS[1]   the copy
-- ARGV[1]   the version
-- ARGV[2..] pairs of field and value; an empty value deletes the field
if tonumber(ARGV[1]) <= tonumber(redis.call('HGET', KEYS[1], 'version') or 0) then
  return 0
end
-- This write comes first because it needs no memory: a script that has written once may
-- continue when Redis is full.
redis.call('HDEL', KEYS[1], 'turn')
redis.call('HSET', KEYS[1], 'version', ARGV[1])
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
