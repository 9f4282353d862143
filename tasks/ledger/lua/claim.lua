-- claim reserves keys of a batch, so that one key stands for one content for ever.
--
-- KEYS[1]   the batch's claims: hash, call key -> "HASH QUEUE"
-- ARGV      triples of call key, content hash, queue
--
-- Returns a list with, for each triple, the claim that stands: the one just
-- made where the key was free, else the earlier one.
local standing = {}
for i = 1, #ARGV, 3 do
  local claim = ARGV[i + 1] .. ' ' .. ARGV[i + 2]
  if redis.call('HSETNX', KEYS[1], ARGV[i], claim) == 0 then
    claim = redis.call('HGET', KEYS[1], ARGV[i])
  end
  standing[#standing + 1] = claim
end
return standing
