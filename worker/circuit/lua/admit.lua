-- admit decides whether a call may be made now. When a hold is over, the first call that
-- asks becomes the probe, except the call that was refused last: it waits a little, so
-- that another call can ask first. The script begins with prelude.lua and refusals.lua.
--
-- ARGV[1]   a token for the probe, unique to this request
-- ARGV[2]   how long the probe's lease lasts if it is not renewed, in ms; see renew.lua
-- ARGV[3]   the call, as refusals.lua names it, or empty
-- ARGV[4]   how long ago, in ms, this process got a good answer to a call of this
--           circuit; -1: never
--
-- Returns {1, epoch}: make the call; {2, epoch, hold, rung, ms}: make it as the probe,
-- and for how long the circuit has been open; {0, ms}: ask again after that time; {3,
-- code, correlation id, message}: end the call unsent, because too many probes have
-- failed.
if state == 'closed' then
  return {1, epoch}
end
-- How long after the hold, in ms, other calls wait for the call that must be the next
-- probe, and how long the call that was refused last waits for another.
local grace = 3000
local call, list = ARGV[3], words(own.refused)
local last = list[#list]
if call ~= '' and last and call ~= last and '!' .. call ~= last and not own.other then
  redis.call('HSET', KEYS[1], 'other', 1)
  own.other = '1'
end
local wait = tonumber(own['until']) - now
-- A request with the probe's own token is a repetition whose reply was lost: it gets the probe.
if wait <= 0 and own.lease and own.token ~= ARGV[1] then
  wait = math.min(tonumber(own.lease) - now, 1000)
elseif wait <= 0 and not own.lease and call ~= '' and KEYS[1] ~= KEYS[2] and wait + grace > 0 then
  local yields = own.next and own.next ~= call
  if not own.next then
    yields = own.other and (call == last or '!' .. call == last)
  end
  if yields then
    wait = math.min(wait + grace, 1000)
  end
end
if wait <= 0 then
  redis.call('HSET', KEYS[1], 'token', ARGV[1], 'lease', now + ARGV[2], 'turn', now + ARGV[2])
  return {2, epoch, own.hold or '', rung, now - tonumber(own.since or now)}
end
local max_probes, good_at = tonumber(own.max_probes or 0), tonumber(own.good_at or 0)
if max_probes > 0 and failed >= max_probes then
  if tonumber(ARGV[4]) >= 0 and now - ARGV[4] > good_at then
    good_at = now - ARGV[4]
    redis.call('HSET', KEYS[1], 'good_at', string.format('%.0f', good_at))
  end
  -- Give calls up only if different calls have failed as the probe, and none of the
  -- circuit's calls got a good answer within the hour.
  local different, seen = 0, {}
  for _, one in ipairs(words(own.failed_by)) do
    if not seen[one] then different, seen[one] = different + 1, true end
  end
  if different >= max_probes and now - good_at > 3600000 then
    return {3, own.code or '', own.correlation_id or '', own.message or ''}
  end
end
return {0, wait}
