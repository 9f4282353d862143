-- expire forgets ended calls of a batch whose retention is over, and keeps
-- counting them. Dead letters wait for a person and are left alone until they are
-- purged, and so are calls whose task still waits to be taken off its list: without its record it
-- would look like a stranger's. In front of it stands books.lua.
--
-- KEYS[1]   the batch's counts in this queue
-- KEYS[2]   the batch's ended calls in this queue
-- ARGV[1]   the record key prefix
-- ARGV[2]   only calls that ended before this microsecond, or +inf
-- ARGV[3]   how many to look at
-- ARGV[4]   1 to do so only while nothing of the batch is open
-- ARGV[5]   look at calls that ended after this microsecond, or -inf
-- ARGV[6]   asynq's task key prefix
--
-- Returns {how many were looked at, last microsecond looked at, call keys…},
-- where the keys are those forgotten.
own('hash', KEYS[1])
own('zset', KEYS[2])
if ARGV[4] == '1' and number(redis.call('HGET', KEYS[1], 'open')) > 0 then
  return {0, ARGV[5]}
end
local ids = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[5], ARGV[2], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local result = {#ids / 2, ARGV[5]}
for i = 1, #ids, 2 do
  local record = ARGV[1] .. ids[i]
  local r = redis.call('HMGET', record, 'state', 'origin', 'purged')
  result[2] = ids[i + 1]
  if (r[1] ~= 'dead' or r[3]) and redis.call('EXISTS', ARGV[6] .. ids[i]) == 0 then
    redis.call('DEL', record)
    redis.call('ZREM', KEYS[2], ids[i])
    tally(KEYS[1], 'expired', 1)
    if r[1] == 'dead' then
      tally(KEYS[1], 'expired_dead', 1)
    end
    result[#result + 1] = string.match(r[2] or '', '^%S+ %S+ (.*)$') or ''
  end
end
return result
