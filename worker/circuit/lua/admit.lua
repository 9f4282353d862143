-- admit asks whether a call may be made now. When a hold is over, it gives the
-- one probe to the first who asks, save for the call that was refused last: that
-- one waits a little for another to ask. In front of it stand prelude.lua and
-- refusals.lua.
--
-- ARGV[1]   a token for the probe, unique to this try
-- ARGV[2]   for how long the probe may be silent before it counts as lost, in ms; see
--           renew.lua
-- ARGV[3]   the call, as refusals.lua names it, or empty
-- ARGV[4]   how long ago, in ms, this process saw a call of this circuit answered
--           well; -1: never
--
-- Returns {1, epoch}: go ahead; {2, epoch, hold, rung, failed}: go ahead as the
-- probe; {0, ms}: ask again in that time; {3, code, correlation id, message}:
-- give the call up unsent, too many probes have failed.
if state == 'closed' then
  return {1, epoch}
end
-- For so long after the hold the others wait for the call that has to be the next
-- probe, and the call that was refused last for another.
local grace = 3000
local call, list = ARGV[3], words(own.refused)
local last = list[#list]
if call ~= '' and last and call ~= last and '!' .. call ~= last and not own.other then
  redis.call('HSET', KEYS[1], 'other', 1)
  own.other = '1'
end
local wait = tonumber(own['until']) - now
-- Who asks twice with one token did not hear the answer: it has the probe.
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
  return {2, epoch, own.hold or '', rung, failed}
end
local max_probes, good_at = tonumber(own.max_probes or 0), tonumber(own.good_at or 0)
if max_probes > 0 and failed >= max_probes then
  if tonumber(ARGV[4]) >= 0 and now - ARGV[4] > good_at then
    good_at = now - ARGV[4]
    redis.call('HSET', KEYS[1], 'good_at', string.format('%.0f', good_at))
  end
  -- Only different calls are evidence against all others, and none where one of
  -- these was answered well within the hour.
  local different, seen = 0, {}
  for _, one in ipairs(words(own.failed_by)) do
    if not seen[one] then different, seen[one] = different + 1, true end
  end
  if different >= max_probes and now - good_at > 3600000 then
    return {3, own.code or '', own.correlation_id or '', own.message or ''}
  end
end
return {0, wait}
