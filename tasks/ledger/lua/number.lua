-- number reads a number that a script adds to. Whoever can write to Redis can write
-- anything there: text that is not a number, or a number too large to add to, counts as
-- 0.
local function number(text)
  local n = tonumber(text)
  return n and n % 1 == 0 and math.abs(n) < 2 ^ 53 and n or 0
end

-- digits writes a whole number below 2^53. The format for integers, which may have 32
-- bits, takes a tenth of the time of %.0f.
local function digits(n)
  if n > -1e9 and n < 1e9 then
    return string.format('%d', n)
  end
  return n > 0 and string.format('%d%09d', math.floor(n / 1e9), n % 1e9) or string.format('%.0f', n)
end
