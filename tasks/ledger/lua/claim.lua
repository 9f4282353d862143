-- claim reserves keys of a batch, so that one key stands for one content for ever.
--
-- KEYS[1]   the batch's claims: hash, call key -> "HASH QUEUE"
-- ARGV      triples of call key, content hash, queue; at most 1,000
--
-- Returns a list with, for each triple, the claim that stands: the one just
-- made where the key was free, else the earlier one.
--
-- One command for many keys: a million calls are sent through here.
local keys = {}
for i = 1, #ARGV, 3 do
  keys[#keys + 1] = ARGV[i]
end
local standing = redis.call('HMGET', KEYS[1], unpack(keys))
local made, new = {}, {}
for n, key in ipairs(keys) do
  standing[n] = standing[n] or made[key]
  if not standing[n] then
    standing[n] = ARGV[3 * n - 1] .. ' ' .. ARGV[3 * n]
    made[key] = standing[n]
    new[#new + 1] = key
    new[#new + 1] = standing[n]
  end
end
if #new > 0 then
  redis.call('HSET', KEYS[1], unpack(new))
end
return standing
