-- lost tells which calls are lost. In front of it stands strays.lua.
--
-- ARGV[4..] their ids
--
-- Returns the ids of those that are.
local ids, result = {unpack(ARGV, 4)}, {}
local lost = strays(ids, counter(KEYS[1], ids), counter(KEYS[3], ids))
for _, id in ipairs(ids) do
  if lost[id] then
    result[#result + 1] = id
  end
end
return result
