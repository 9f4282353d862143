-- free drops the stored results of ended calls, a page at a time, and leaves
-- everything else of their records.
--
-- KEYS[1]   the batch's ended calls in this queue
-- ARGV[1]   the record key prefix
-- ARGV[2]   only calls that ended after this microsecond, or -inf
-- ARGV[3]   only calls that ended no later than this microsecond
-- ARGV[4]   how many to look at
-- ARGV[5..] the states whose results are dropped
--
-- Returns {how many were looked at, last microsecond looked at, how many were
-- freed}.
local wanted = {}
for i = 5, #ARGV do
  wanted[ARGV[i]] = true
end
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], ARGV[3], 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local last, freed = ARGV[2], 0
for i = 1, #ids, 2 do
  local record = ARGV[1] .. ids[i]
  last = ids[i + 1]
  if wanted[redis.call('HGET', record, 'state') or ''] and redis.call('HDEL', record, 'body', 'type') > 0 then
    freed = freed + 1
  end
end
return {#ids / 2, last, freed}
