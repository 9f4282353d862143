-- number reads a number that a script counts on from. Whoever can write to Redis can
-- write anything there: what is none, or too large to be counted on from, is 0.
local function number(text)
  local n = tonumber(text)
  return n and n % 1 == 0 and math.abs(n) < 2 ^ 53 and n or 0
end
