-- forget removes what the ledger keeps of a batch under one pair of keys, or some of
-- its claims, once every call of it was forgotten. It does nothing if a producer has
-- sent to the batch since: a key that was claimed again must keep its claim.
--
-- KEYS[1]   the batch's counts in a queue; or what is stored about the batch
-- KEYS[2]   its ended calls in that queue; or its claims
-- ARGV[1]   since when the batch is idle, as the caller has seen it; the counts in a
--           queue do not store it; empty: idle or not
-- ARGV[2..] the call keys whose claims are removed; none: both keys of Redis are
--           removed
--
-- Returns 1 when they are removed, 0 when a producer is sending or calls have come
-- since.
local r = redis.call('HMGET', KEYS[1], 'accepted', 'expired', 'idle')
if (r[1] or '0') ~= (r[2] or '0') or ARGV[1] ~= '' and r[3] ~= ARGV[1] then
  return 0
end
if #ARGV == 1 then
  redis.call('DEL', KEYS[1], KEYS[2])
else
  redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
end
return 1
