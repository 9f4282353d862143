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

-- tally adds to a count of a batch.
local function tally(counts, field, n)
  redis.call('HSET', counts, field, number(redis.call('HGET', counts, field)) + n)
end
