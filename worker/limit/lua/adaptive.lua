-- adaptive is a rate that follows the API's own rate errors: it is cut at once and grows
-- back slowly. It grows along a cubic, as in RFC 9438, which shares the capacity of a
-- network link: fast at first, flat around the rate that was refused last, then faster
-- again, to find out whether the API's limit was raised. It grows only while calls wait
-- for their slots, because a rate that is not used gives no evidence.
--
-- The state, in the hash of the account's limits: top, the rate that was refused; cut, the
-- share of it that was left; busy, the seconds under load since; cut_at, when, in
-- microseconds; second, count and peak, how many slots were really used.
local steepness = 0.00015

local function adaptive_rate(s, first)
  local top, busy = tonumber(s.top or 0), tonumber(s.busy or 0)
  if top == 0 then
    return math.min(first * 2 ^ busy, 100000) -- nothing was refused yet
  end
  local back = ((1 - tonumber(s.cut)) / steepness) ^ (1 / 3)
  return math.max(top * (1 + steepness * (busy - back) ^ 3), 0.1)
end

-- adaptive_used returns the fields to write when a slot is taken: the use of the current
-- second, and the time under load if the call has to wait for its slot.
local function adaptive_used(s, now, slot)
  local second, count, peak = math.floor(slot / 1000000), tonumber(s.count or 0), tonumber(s.peak or 0)
  local before = tonumber(s.second or second)
  if second ~= before then
    peak = math.max(count, peak) * 0.8 ^ math.min(math.abs(second - before), 50)
    count = 0
  end
  local busy = tonumber(s.busy or 0)
  if slot - now > 1000 then
    busy = busy + math.min(math.max(slot - tonumber(s.last or slot), 0), 1000000) / 1000000
  end
  return {'second', second, 'count', count + 1, 'peak', peak, 'busy', busy, 'last', string.format('%.0f', slot)}
end

-- adaptive_cut lowers the rate after a refusal. It returns the time of the next slot, in
-- microseconds, and the fields to write.
local function adaptive_cut(s, first, now)
  local rate = adaptive_rate(s, first)
  local used = math.max(tonumber(s.peak or 0), tonumber(s.count or 0), 1)
  rate = math.min(rate, used * 1.25)
  local share = 0.85
  if now - tonumber(s.cut_at or 0) < 5000000 then
    share = 0.6 -- the last cut was not enough
  end
  local top = rate
  if rate < tonumber(s.top or 0) then
    top = rate * 0.95 -- less than last time: the API's limit was lowered
  end
  local slot = string.format('%.0f', now + 1000000 / (top * share))
  return slot, {'top', top, 'cut', share, 'busy', 0, 'cut_at', string.format('%.0f', now), 't:adaptive', slot,
    'count', 0, 'peak', top * share}
end
