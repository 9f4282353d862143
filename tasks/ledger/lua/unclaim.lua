-- unclaim gives keys of a batch free again, whose calls were forgotten. It does
-- nothing once somebody sends to the batch: a key that was claimed again must
-- keep its claim.
--
-- KEYS[1]   what is known of the batch
-- KEYS[2]   the batch's claims
-- ARGV[1]   since when the batch was seen at rest, or empty: whether or not it is
-- ARGV[2..] the call keys; none: all of them, and the batch itself
--
-- Returns 1 when they were released, 0 when somebody sends.
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'idle') ~= ARGV[1] then
  return 0
end
if #ARGV == 1 then
  redis.call('DEL', KEYS[1], KEYS[2])
else
  redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
end
return 1
