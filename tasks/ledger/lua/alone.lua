-- alone notes in a call's record that its worker makes no other call at the same time.
-- If that worker dies too, the call is probably the reason. The note counts until the
-- next decision on the call, as its starts do.
--
-- KEYS[1]   the call's record
-- ARGV[1]   the generation that the worker is making
-- ARGV[2]   the call's starts when the worker took it
--
-- Returns 1, or 0 when the record has ended, or the call was put back or taken again.
-- Running it twice, as after a lost reply, has the effect of running it once.
local r = redis.call('HMGET', KEYS[1], 'state', 'gen', 'starts', 'settled', 'alone')
if r[1] ~= 'open' or r[2] ~= ARGV[1] or (r[3] or '0') ~= ARGV[2] or r[4] == ARGV[2] then
  return 0
end
local settled = r[4] or '0'
local since, at, n = string.match(r[5] or '', '^(%d+) (%d+) (%d+)$')
if since ~= settled then
  n = 0
elseif at == ARGV[2] then
  return 1
end
redis.call('HSET', KEYS[1], 'alone', settled .. ' ' .. ARGV[2] .. ' ' .. string.format('%.0f', n + 1))
return 1
