-- counts is prepended to scripts that count the calls of a batch and list them;
-- number.lua is prepended to it. Whoever can write to Redis can write anything there,
-- and that must not keep a call from ending: values that callq cannot have written are
-- replaced, and an audit reports that counts, lists and records do not agree.
--
-- ensure_type deletes those of the keys that hold another type.
local function ensure_type(kind, ...)
  for _, key in ipairs({...}) do
    local found = redis.call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then
      redis.call('DEL', key)
    end
  end
end

-- add_bodies adds n to the bytes that the stored bodies of a queue's results take.
local function add_bodies(prefix, n)
  local now = n == 0 or redis.pcall('INCRBY', prefix .. 'bodies', n)
  if type(now) == 'table' then -- callq did not write this number
    redis.call('SET', prefix .. 'bodies', math.max(n, 0))
  elseif now ~= true and now <= 0 then
    redis.call('DEL', prefix .. 'bodies')
  end
end

-- add_batch_bodies adds n to that number of a batch and to that of its queue.
local function add_batch_bodies(prefix, batch, n)
  if n ~= 0 then
    local counts = prefix .. 'b:' .. batch
    ensure_type('hash', counts)
    redis.call('HSET', counts, 'bodies', math.max(number(redis.call('HGET', counts, 'bodies')) + n, 0))
    add_bodies(prefix, n)
  end
end

-- tally adds n to a count of a batch.
local function tally(counts, field, n)
  redis.call('HSET', counts, field, number(redis.call('HGET', counts, field)) + n)
end

-- note adds a name to one of the queue's lists of news, which package ledger's Feed reads:
-- its batches that have ended (ended) or its new groups of dead letters (causes), by
-- microsecond. It does so only while someone watches the queue. The list expires if nobody
-- reads it.
local function note(prefix, list, score, name)
  if redis.call('EXISTS', prefix .. 'watched') == 1 then
    ensure_type('zset', prefix .. list)
    redis.call('ZADD', prefix .. list, score, name)
    redis.call('EXPIRE', prefix .. list, 604800)
  end
end
