-- forget removes the books of a batch in one queue once every call that they
-- count was forgotten.
--
-- KEYS[1]   the batch's counts in this queue
-- KEYS[2]   the batch's ended calls in this queue
--
-- Returns 1 when they are gone, 0 when calls have come meanwhile.
local c = redis.call('HMGET', KEYS[1], 'accepted', 'expired')
if (c[1] or '0') ~= (c[2] or '0') then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
