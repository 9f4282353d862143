-- number reads a number that a script adds to. Whoever can write to Redis can write
-- anything there: text that is not a number, or a number too large to add to, counts as
-- 0.
local function number(text)
  local n = tonumber(text)
  return n and n % 1 == 0 and math.abs(n) < 2 ^ 53 and n or 0
end
