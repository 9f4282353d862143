-- join is prepended to scripts that return records. A record is returned as one text, which
-- a client reads with much less work than a list.
--
-- join returns texts as one, each after its length in four bytes, the lowest first. Its first
-- argument is the format of struct.pack, in which sized stands for one text. The others are,
-- for each text, its length and the text; length -1 and an empty text stand for one that is
-- missing. The Redis that callq has built in does not have struct.pack.
local sized = 'I4c0'
local join = rawget(_G, 'struct') and struct.pack or function(_, ...)
  local parts = {...}
  for i = 1, #parts, 2 do
    local n = parts[i]
    parts[i] = string.char(n % 256, math.floor(n / 256) % 256, math.floor(n / 65536) % 256, math.floor(n / 16777216) % 256)
  end
  return table.concat(parts)
end

-- join_pairs returns fields and values, as HGETALL returns them, in the same form, behind the
-- text first, unless that is nil. There may be more than a function can have arguments.
local function join_pairs(fields, first)
  local parts, format = {first}, '<' .. sized .. sized
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    parts[#parts + 1] = join(format, #field, field, #value, value)
  end
  return table.concat(parts)
end
