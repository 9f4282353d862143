-- accept takes calls of one batch into one queue: the ledger's open record, the
-- batch's count and asynq's task are written together or not at all.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2]   asynq's scheduled set
-- KEYS[3]   the batch's counts in this queue
-- ARGV[1]   now in nanoseconds, as asynq writes it for its latency figures
-- ARGV[2]   asynq's task key prefix
-- ARGV[3]   the record key prefix
-- ARGV[4]   the batch's name
-- ARGV[5..] sextuples of id, asynq's message, content, call key, content hash,
--           due time in Unix seconds (0: now)
--
-- Returns a list with, for each call, 1 if it was accepted and 0 if it has a
-- record already.
local t = redis.call('TIME')
local now = t[1] .. string.format('%03d', math.floor(t[2] / 1000))
local result, accepted = {}, 0
for i = 5, #ARGV, 6 do
  local id, msg, content = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record, task = ARGV[3] .. id, ARGV[2] .. id
  if redis.call('EXISTS', record) == 1 then
    result[#result + 1] = 0
  else
    redis.call('HSET', record, 'state', 'open', 'gen', 1, 'batch', ARGV[4], 'key', ARGV[i + 3],
      'hash', ARGV[i + 4], 'at', now, 'content', content)
    -- A task that is there without a record is on one of asynq's lists already.
    if redis.call('EXISTS', task) == 0 then
      if ARGV[i + 5] == '0' then
        redis.call('HSET', task, 'msg', msg, 'state', 'pending', 'pending_since', ARGV[1])
        redis.call('LPUSH', KEYS[1], id)
      else
        redis.call('HSET', task, 'msg', msg, 'state', 'scheduled')
        redis.call('ZADD', KEYS[2], ARGV[i + 5], id)
      end
    end
    accepted = accepted + 1
    result[#result + 1] = 1
  end
end
if accepted > 0 then
  redis.call('HINCRBY', KEYS[3], 'accepted', accepted)
  redis.call('HINCRBY', KEYS[3], 'open', accepted)
end
return result
