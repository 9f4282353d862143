-- deadlines finds open calls whose deadline has passed and that no worker has taken.
-- states.lua and counts.lua are prepended to it.
--
-- The index of a queue has for each call the millisecond from which it is to be looked
-- at: at first that is its deadline. A call that was found is postponed a little, so
-- that other workers leave it to the worker that asked, and find it if that worker
-- dies. A call that has ended is removed from the index.
--
-- KEYS      for each queue its deadlines and asynq's lease set
-- ARGV[1]   by how many milliseconds the calls found are postponed
-- ARGV[2]   how many calls are looked at at most
-- ARGV[3..] for each queue the record key prefix
--
-- Returns {now in Unix milliseconds, 1 if there may be more, calls…}, where each call
-- is {number of its queue, id, the record}.
local heavy = 1048576
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local result, left, weight = {now, 0}, tonumber(ARGV[2]), 0
for q = 1, #KEYS / 2 do
  local index, later, gone = KEYS[2 * q - 1], {}, {}
  ensure_type('zset', index)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, left)) do
    if weight > heavy then
      left = 0
      break
    end
    left = left - 1
    local record = ARGV[2 + q] .. id
    local state = redis.pcall('HGET', record, 'state')
    if type(state) ~= 'string' or ended[state] then
      gone[#gone + 1] = id
    else
      later[#later + 1], later[#later + 2] = string.format('%.0f', now + ARGV[1]), id
      -- A call that a worker has taken is ended by that worker, or returns to its
      -- queue.
      if not redis.pcall('ZSCORE', KEYS[2 * q], id) then
        local fields = redis.call('HGETALL', record)
        for i = 2, #fields, 2 do weight = weight + #fields[i] end
        result[#result + 1] = {q, id, fields}
      end
    end
  end
  if #gone + #later > 0 then
    -- The first write needs no memory: a script that has written may go on when Redis
    -- is full.
    redis.call('ZREM', index, unpack(#gone > 0 and gone or {''}))
  end
  if #later > 0 then
    redis.call('ZADD', index, 'XX', unpack(later))
  end
  if left == 0 then
    result[2] = 1
    break
  end
end
return result
