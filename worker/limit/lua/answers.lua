-- answers takes what the answers to calls say of the API's limits. The script begins with
-- holdlog.lua, limited.lua and limits.lua.
--
-- KEYS      as of change.lua
-- ARGV[1]   how many answers
-- ARGV[2]   how many limits the policy reads from an answer
-- ARGV[3..] for each answer: the slot of its call; how long ago it arrived, in
--           microseconds; and for each limit what is left (-1: the answer does not say),
--           and how long after the answer arrived the limit starts afresh, in microseconds
-- ARGV[..]  the rules
--
-- Returns 1 if a call may start that was refused before, else 0.
local n, paces = tonumber(ARGV[1]), tonumber(ARGV[2])
local size = 2 + 2 * paces
local l = limits(KEYS[1], KEYS[2], KEYS[3], 3 + size * n)
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
-- This write comes first because it needs no memory: a script that has written once may
-- continue when Redis is full.
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('(%.0f', now - pace_forgotten))
for i = 0, n - 1 do
  local at, readings = 3 + size * i, {}
  local seen = now - math.max(tonumber(ARGV[at + 1]), 0)
  for j = 1, paces do
    local left = tonumber(ARGV[at + 2 * j])
    readings[j] = left >= 0 and {left, seen + tonumber(ARGV[at + 2 * j + 1])}
  end
  l.answered(now, tonumber(ARGV[at]), seen, readings)
end
l.write()
local by = redis.call('HMGET', KEYS[4], 'limited', 'limited_key', 'limited_turn')
if by[1] and by[2] and string.sub(by[2], 1, 5) == 'pace ' and l.peek(now) then
  clear_limited(KEYS[4], math.floor(now / 1000))
  if by[3] == '1' then
    redis.call('PUBLISH', 'callq:news', KEYS[4])
  end
  return 1
end
return 0
