-- watch notes in the record of an open call that somebody waits for its ending. The script
-- that ends it publishes its id on callq:ended, and only then: an ending that nobody waits
-- for costs nothing more.
--
-- KEYS[1]  the call's record
--
-- Returns 1 if the call is open, else 0.
if redis.call('HGET', KEYS[1], 'state') ~= 'open' then
  return 0
end
redis.call('HSET', KEYS[1], 'watched', 1)
return 1
