-- operate carries out an operator's word: open until a time, or close.
--
-- ARGV[1]   open or close
-- ARGV[2]   for how many milliseconds, for open
-- ARGV[3..] pairs of field and value that describe why and by whom
if ARGV[1] == 'open' then
  open(now + ARGV[2], rung, 0)
else
  close()
end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return 1
