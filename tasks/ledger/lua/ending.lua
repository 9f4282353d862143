-- ending is prepended to scripts that end calls of one queue; counts.lua is prepended
-- to it. Endings of a batch have a strict order, so that a reader can go on from where
-- it stopped.
--
-- counts_of reads the counts of a batch, once. write_counts writes what a script
-- changes in them.
local counted = {'last', 'open', 'done', 'dropped', 'dead', 'cancelled', 'bodies'}
local batches = {}
local function counts_of(prefix, batch)
  local b = batches[batch]
  if not b then
    b = {endings = {}, found = {}}
    ensure_type('hash', prefix .. 'b:' .. batch)
    local values = redis.call('HMGET', prefix .. 'b:' .. batch, unpack(counted))
    for i, field in ipairs(counted) do
      b[field], b.found[field] = number(values[i]), values[i]
    end
    batches[batch] = b
  end
  return b
end

-- stamp ends a call: its record gets the fields in the arguments from..to. before is
-- the state in which the call was counted. It returns the microsecond under which the
-- ending is listed.
local function stamp(b, t, record, id, before, state, from, to)
  b.last = math.max(t[1] * 1000000 + t[2], b.last + 1)
  local score = digits(b.last)
  b.endings[#b.endings + 1], b.endings[#b.endings + 2] = score, id
  b[before] = b[before] - 1
  b[state] = b[state] + 1
  redis.call('HSET', record, 'state', state, 'ended', score, unpack(ARGV, from, to))
  return score
end

local function write_counts(prefix)
  for batch, b in pairs(batches) do
    local fields = {}
    for _, field in ipairs(counted) do
      local text = digits(b[field])
      if text ~= b.found[field] then
        fields[#fields + 1], fields[#fields + 2] = field, text
      end
    end
    redis.call('HSET', prefix .. 'b:' .. batch, unpack(fields))
    ensure_type('zset', prefix .. 'e:' .. batch)
    redis.call('ZADD', prefix .. 'e:' .. batch, unpack(b.endings))
    if b.open <= 0 and batch ~= 'adhoc' then -- that batch never ends
      note(prefix, 'ended', digits(b.last), batch)
    end
  end
end

-- tell tells those who wait for a call that it has ended: see watch.lua. A user of Redis
-- that may not use the channel still ends calls; those who wait read Redis now and then.
local function tell(record, id)
  redis.call('HDEL', record, 'watched')
  redis.pcall('PUBLISH', 'callq:ended', id)
end
