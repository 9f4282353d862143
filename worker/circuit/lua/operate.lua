-- operate carries out an operator's word: open until a time, or close. In front of
-- it stand limited.lua and prelude.lua.
--
-- ARGV[1]   open or close
-- ARGV[2]   for how many milliseconds, for open
-- ARGV[3..] pairs of field and value that describe why and by whom

-- First of the writes, though it removes nothing: it needs no memory, and a
-- script that has written may go on when Redis is full.
redis.call('HDEL', KEYS[1], '')
if ARGV[1] == 'open' then
  open(now + ARGV[2], rung, 0)
else
  close()
  -- A limit or a budget that holds the account begins anew: its window counts
  -- from nothing until it turns, and the dearest bill is forgotten, lest one call
  -- cost more than all that is allowed.
  if own.limited_key then
    redis.call('HDEL', KEYS[4], 's:' .. own.limited_key, 'n:' .. own.limited_key, 'amount')
    clear_limited(KEYS[1])
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return redis.call('HGETALL', KEYS[1])
