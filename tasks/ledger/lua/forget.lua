-- forget removes what the ledger keeps of a batch in one place, or some of its keys,
-- once every call of it was forgotten. It does nothing once somebody sends to the
-- batch: a key that was claimed again must keep its claim.
--
-- KEYS[1]   the batch's counts in a queue; or what is known of the batch
-- KEYS[2]   its ended calls in that queue; or its claims
-- ARGV[1]   since when the batch was seen at rest, of which its counts know nothing;
--           empty: whether or not it is
-- ARGV[2..] the call keys of which the claims go; none: both keys of Redis go
--
-- Returns 1 when they are gone, 0 when somebody sends or calls have come meanwhile.
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
