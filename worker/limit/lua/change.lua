-- change takes a slot without a call, returns one, or reconciles its cost. The script
-- begins with holdlog.lua, limited.lua and limits.lua.
--
-- KEYS[1]   the account's limits
-- KEYS[2]   the slots that were returned
-- KEYS[3]   the slots whose calls' answers were not reported yet
-- KEYS[4]   the account's circuit record, which shows a refusal to people
-- ARGV[1]   take, back or reconcile
-- ARGV[2]   the slot in microseconds (back, reconcile)
-- ARGV[3]   the money that was reserved (back, reconcile)
-- ARGV[4]   the cost that was billed (reconcile)
-- ARGV[5..] the rules
--
-- Returns, for take, {1, slot, microseconds until then, money} or
-- {0, milliseconds, reason, key, text, 1 if that begins to hold the account, else 0}; else
-- {1}.
local l = limits(KEYS[1], KEYS[2], KEYS[3], 5)
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if ARGV[1] == 'back' then
  l.give_back(now, tonumber(ARGV[2]), tonumber(ARGV[3]))
elseif ARGV[1] == 'reconcile' then
  l.reconcile(now, tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
else
  local slot, wait, reason, key, text, turns = l.peek(now)
  if not slot then
    local now_ms = math.floor(now / 1000)
    local held = (tonumber(redis.call('HGET', KEYS[4], 'limited') or 0) or 0) > now_ms
    write_limited(KEYS[4], ARGV[5], now_ms, wait, reason, key, text, turns)
    return {0, wait, reason, key, text, not held and (turns or wait >= 1000) and 1 or 0}
  end
  local money = l.take(now, slot)
  l.write()
  return {1, string.format('%.0f', slot), math.max(math.floor(slot - now), 0), string.format('%.0f', money)}
end
l.write()
-- Calls that were refused may be allowed now.
if redis.call('HDEL', KEYS[4], 'limited') == 1 then
  clear_limited(KEYS[4], math.floor(now / 1000))
  redis.call('PUBLISH', 'callq:news', KEYS[4])
end
return {1}
