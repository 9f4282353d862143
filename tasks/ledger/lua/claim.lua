-- claim reserves keys of a batch, so that one key stands for one content for ever.
--
-- KEYS[1]   the batch's claims: hash, call key -> "HASH QUEUE"
-- ARGV      pairs of call key and claim; at most 1,000
--
-- Returns a list with, for each pair whose key was not free, its number, from 1,
-- and the earlier claim, which stands. Mostly it is empty.
--
-- One command for many keys: a million calls are sent through here.
local keys = {}
for i = 1, #ARGV, 2 do
  keys[#keys + 1] = ARGV[i]
end
local standing = redis.call('HMGET', KEYS[1], unpack(keys))
local made, new, earlier = {}, {}, {}
for n, key in ipairs(keys) do
  local claim = standing[n] or made[key]
  if claim then
    earlier[#earlier + 1], earlier[#earlier + 2] = n, claim
  else
    made[key] = ARGV[2 * n]
    new[#new + 1], new[#new + 2] = key, made[key]
  end
end
if #new > 0 then
  redis.call('HSET', KEYS[1], unpack(new))
end
return earlier
