-- operate opens a circuit until a time, or closes it, for an operator. The script begins
-- with holdlog.lua, limited.lua and prelude.lua.
--
-- ARGV[1]   open or close
-- ARGV[2]   for open: for how many milliseconds
-- ARGV[3..] pairs of field and value that say why, and who did it

-- This write comes first because it needs no memory, though it removes nothing: a script
-- that has written once may continue when Redis is full.
redis.call('HDEL', KEYS[1], '')
if ARGV[1] == 'open' then
  open(now + ARGV[2], rung, 0, true)
else
  close()
  -- If a limit or a budget holds the account, its count starts again at 0 for the rest of
  -- its window. The highest bill is forgotten too: otherwise one call could still cost
  -- more than the whole budget. Of a limit of the API, what the answers said is forgotten:
  -- the next calls find out.
  if own.limited_key then
    redis.call('HDEL', KEYS[4], 's:' .. own.limited_key, 'n:' .. own.limited_key, 'amount')
    clear_limited(KEYS[1], now)
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return redis.call('HGETALL', KEYS[1])
