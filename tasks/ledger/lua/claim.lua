-- claim reserves keys of a batch, so that a key stands for the same content for ever.
--
-- KEYS[1]   the batch's claims: hash, call key -> "HASH QUEUE"
-- ARGV      pairs of call key and claim; at most 1,000
--
-- Returns a list with, for each pair whose key was taken, its number, from 1, and the
-- earlier claim, which stays. Usually the list is empty.
--
-- One command serves many keys: producers send a million calls through this script.
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
