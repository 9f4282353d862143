-- admit asks whether a call may be made now. When a hold is over, it gives the
-- one probe to the first who asks.
--
-- ARGV[1]   a token for the probe, unique to this try
-- ARGV[2]   how long the probe may take before it counts as lost, in ms
--
-- Returns {1, epoch}: go ahead; {2, epoch, hold, rung, failed}: go ahead as the
-- probe; {0, ms}: ask again in that time; {3, code, correlation id, message}:
-- give the call up unsent, too many probes have failed.
if state == 'closed' then
  return {1, epoch}
end
local wait = tonumber(own['until']) - now
-- Who asks twice with one token did not hear the answer: it has the probe.
if wait <= 0 and own.lease and own.token ~= ARGV[1] then
  wait = math.min(tonumber(own.lease) - now, 1000)
end
if wait <= 0 then
  redis.call('HSET', KEYS[1], 'token', ARGV[1], 'lease', now + ARGV[2], 'turn', now + ARGV[2])
  return {2, epoch, own.hold or '', rung, failed}
end
local max_probes = tonumber(own.max_probes or 0)
if max_probes > 0 and failed >= max_probes then
  return {3, own.code or '', own.correlation_id or '', own.message or ''}
end
return {0, wait}
