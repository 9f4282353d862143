-- read returns records of one queue: as many of those that are asked for as one step may
-- read. join.lua is prepended to it.
--
-- KEYS[1]   one of the records
-- ARGV[1]   the record key prefix
-- ARGV[2]   how many fields are wanted; 0: all of them
-- ARGV[3..] their names
-- ARGV[..]  ids of calls
--
-- Returns a list with, for the first of them, at least one: the record, encoded by join as the
-- values of the wanted fields, or as fields and values; empty if there is none; or, for a
-- large record, how many bytes its content and body have.
local large, most = 65536, 1048576
local count = tonumber(ARGV[2])
local names, texts, format = {}, {}, '<' .. string.rep(sized, count)
for i = 1, count do names[i] = ARGV[2 + i] end

local function encode(record)
  if count == 0 then
    return join_pairs(redis.call('HGETALL', record))
  end
  local values = redis.call('HMGET', record, unpack(names))
  for i = 1, count do
    local value = values[i]
    texts[2 * i - 1], texts[2 * i] = value and #value or -1, value or ''
  end
  return join(format, unpack(texts))
end

local result, weight = {}, 0
for i = 3 + count, #ARGV do
  local record = ARGV[1] .. ARGV[i]
  local content, body = redis.pcall('HSTRLEN', record, 'content'), redis.pcall('HSTRLEN', record, 'body')
  if type(content) ~= 'number' or type(body) ~= 'number' then
    result[#result + 1] = '' -- not a record
  elseif content + body > large then
    result[#result + 1] = content + body
  else
    weight = weight + content + body
    if weight > most then
      return result
    end
    result[#result + 1] = encode(record)
  end
end
return result
