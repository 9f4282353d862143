-- books stands in front of scripts that count the calls of a batch and list them.
-- Whoever can write to Redis can write anything there, and no call may be kept from
-- ending by it: what callq cannot have written gives way, and an audit finds that
-- counts, lists and records do not agree.
--
-- number reads a count; what is none, or too large to be counted on from, is 0.
local function number(text)
  local n = tonumber(text)
  return n and n % 1 == 0 and math.abs(n) < 2 ^ 53 and n or 0
end

-- own makes way at keys where callq keeps something of that type.
local function own(kind, ...)
  for _, key in ipairs({...}) do
    local found = redis.call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then
      redis.call('DEL', key)
    end
  end
end

-- weighs adds to how many bytes the bodies of a queue's results take that are kept.
local function weighs(prefix, n)
  local now = n == 0 or redis.pcall('INCRBY', prefix .. 'bodies', n)
  if type(now) == 'table' then -- it is no number of callq's
    redis.call('SET', prefix .. 'bodies', math.max(n, 0))
  elseif now ~= true and now <= 0 then
    redis.call('DEL', prefix .. 'bodies')
  end
end

-- weigh adds to that of a batch and that of its queue.
local function weigh(prefix, batch, n)
  if n ~= 0 then
    local counts = prefix .. 'b:' .. batch
    own('hash', counts)
    redis.call('HSET', counts, 'bodies', math.max(number(redis.call('HGET', counts, 'bodies')) + n, 0))
    weighs(prefix, n)
  end
end

-- tally adds to a count of a batch.
local function tally(counts, field, n)
  redis.call('HSET', counts, field, number(redis.call('HGET', counts, field)) + n)
end
