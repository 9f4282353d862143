-- unnote removes names from a list of news, see counts.lua, unless they were noted again
-- since they were read.
--
-- KEYS[1]   the list
-- ARGV[..]  pairs of score, as it was read, and name
for i = 1, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i + 1]) or -1) == tonumber(ARGV[i]) then
    redis.call('ZREM', KEYS[1], ARGV[i + 1])
  end
end
return 0
