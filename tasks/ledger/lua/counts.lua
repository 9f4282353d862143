-- counts stands in front of scripts that count the calls of a batch and list them; in
-- front of it stands number.lua. Whoever can write to Redis can write anything there,
-- and no call may be kept from ending by it: what callq cannot have written gives way,
-- and an audit finds that counts, lists and records do not agree.
--
-- ensure_type makes way at keys where callq keeps something of that type.
local function ensure_type(kind, ...)
  for _, key in ipairs({...}) do
    local found = redis.call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then
      redis.call('DEL', key)
    end
  end
end

-- add_bodies adds to how many bytes the bodies of a queue's results take that are kept.
local function add_bodies(prefix, n)
  local now = n == 0 or redis.pcall('INCRBY', prefix .. 'bodies', n)
  if type(now) == 'table' then -- it is no number of callq's
    redis.call('SET', prefix .. 'bodies', math.max(n, 0))
  elseif now ~= true and now <= 0 then
    redis.call('DEL', prefix .. 'bodies')
  end
end

-- add_batch_bodies adds to that of a batch and that of its queue.
local function add_batch_bodies(prefix, batch, n)
  if n ~= 0 then
    local counts = prefix .. 'b:' .. batch
    ensure_type('hash', counts)
    redis.call('HSET', counts, 'bodies', math.max(number(redis.call('HGET', counts, 'bodies')) + n, 0))
    add_bodies(prefix, n)
  end
end

-- tally adds to a count of a batch.
local function tally(counts, field, n)
  redis.call('HSET', counts, field, number(redis.call('HGET', counts, field)) + n)
end
