-- report applies one call's result to the circuit. The script begins with the adaptive
-- rate of package limit, prelude.lua and refusals.lua.
--
-- ARGV[1]   the epoch that admitted the call
-- ARGV[2]   the call's probe token, or empty
-- ARGV[3]   error    an error of the circuit's own
--           fault    a transient fault: it says nothing about the account
--           answer   any other answer of the API: the account works
--           unsent   the call was not sent
-- ARGV[4]   how many errors in a row open the circuit. For a fault: 1, or more if it is
--           such an error, met by the probe of a hold that is for another one
-- ARGV[5]   1 if the server itself gave the end of the hold
-- ARGV[6]   after how many failed probes calls are given up unsent; 0: never
-- ARGV[7]   the start rate of the adaptive limit that this error lowers; 0: none
-- ARGV[8]   the report's id, the same if the report is sent again; or empty
-- ARGV[9]   the call, as refusals.lua names it, or empty
-- ARGV[10]  the call's endpoint
-- ARGV[11]  1 if an error spends no attempt because the call is parked; for a fault: 1 if
--           the hold is about such faults: another call is to be the next probe
-- ARGV[12]  1 if every waiting call was refused since the last good answer
-- ARGV[13]  how many delays follow
-- ARGV[..]  the delays: for an error how long the hold lasts in milliseconds on the first
--           rung, the second…; the last repeats. For a fault they are for the first fault
--           in a row, the second… Then pairs of field and value that describe the error;
--           for a fault only one, of which the value is used
--
-- Returns {1 if the record changed, else 0; 1 if the circuit is open, else 0; its epoch;
-- for how many more milliseconds it is held; 1 if the call must end, as the last probe
-- that may fail or because the fault is its own, 2 if as many errors in a row as open the
-- circuit were reported as faults, else 0; the record, if it changed; 1 if a hold began,
-- else 0; since when the circuit was open before the report, in ms, or 0}.

-- This write comes first because it needs no memory, though it removes nothing: a script
-- that has written once may continue when Redis is full. A hold that is not written
-- costs calls.
redis.call('HDEL', KEYS[1], '')

local delays, first_rate, max_probes = tonumber(ARGV[13]), tonumber(ARGV[7]), tonumber(ARGV[6])
local call, at, parked = ARGV[9], ARGV[10], ARGV[11] == '1'
local function hold(n)
  return now + tonumber(ARGV[13 + math.max(1, math.min(n, delays))])
end
-- refused returns the end of the hold that an own error begins. If there is an adaptive
-- rate, it is lowered, once in each epoch: the first rung is then the next slot at the new
-- rate, and the ladder begins if that was not enough.
local function refused(n)
  if first_rate == 0 then
    return hold(n)
  end
  local s = {}
  local flat = redis.call('HGETALL', KEYS[4])
  for i = 1, #flat, 2 do s[flat[i]] = flat[i + 1] end
  local slot, fields = adaptive_cut(s, first_rate, t[1] * 1000000 + t[2])
  redis.call('HSET', KEYS[4], unpack(fields))
  if ARGV[5] == '1' then
    return math.max(hold(n), math.ceil(slot / 1000))
  elseif n <= 1 then
    return math.ceil(slot / 1000)
  end
  return hold(n - 1)
end
local function describe()
  if #ARGV > 13 + delays then
    redis.call('HSET', KEYS[1], 'max_probes', ARGV[6], unpack(ARGV, 14 + delays))
  end
end
-- described returns one of the fields that describe the error.
local function described(field)
  for i = 14 + delays, #ARGV - 1, 2 do
    if ARGV[i] == field then return ARGV[i + 1] end
  end
end
local function result(n, ends)
  local r = redis.call('HMGET', KEYS[1], 'state', 'epoch', 'until')
  local record = n == 1 and redis.call('HGETALL', KEYS[1]) or {}
  local since = state == 'open' and tonumber(own.since) or 0
  if r[1] ~= 'open' then return {n, 0, tonumber(r[2] or 0), 0, 0, record, began, since} end
  return {n, 1, tonumber(r[2]), tonumber(r[3]) - now, ends and 1 or 0, record, began, since}
end
local same = tonumber(ARGV[1]) == epoch
local probe = ARGV[2] ~= '' and own.token == ARGV[2]
if ARGV[2] ~= '' and own.token == 'unknown' and same and ARGV[3] ~= 'unsent' then
  probe = true -- a worker without the probe's token wrote the record back
end

if ARGV[3] == 'unsent' then
  if not probe then return result(0) end
  redis.call('HDEL', KEYS[1], 'token', 'lease', 'turn')
  changed()
  return result(1)
end

if ARGV[3] == 'fault' then
  if not probe then return result(0) end
  local counts = tonumber(ARGV[4]) > 1
  if counts and redis.call('HINCRBY', KEYS[1], 'streak', 1) >= tonumber(ARGV[4]) then
    -- The caller reports it as an error, which opens the circuit.
    local reached = result(0)
    reached[5] = 2
    return reached
  end
  -- The hold's time is over, and a fault says nothing about the account: the next probe
  -- is sent soon. The hold and its rung stay.
  local faults = redis.call('HINCRBY', KEYS[1], 'faults', 1)
  if parked or counts then
    note_refusal(call, at, epoch, false, true)
    failed = failed + 1
  end
  open(hold(faults), rung, failed)
  if #ARGV > 13 + delays then
    redis.call('HSET', KEYS[1], 'fault', ARGV[15 + delays])
  end
  return result(1)
end

if ARGV[3] == 'answer' then
  if probe then
    if suspect(suspects_of(own.suspects), call).new then
      count_probe(1, 0)
    end
    end_run(call)
    close()
    redis.call('HSET', KEYS[1], 'good_at', now)
    return result(1)
  end
  if tonumber(own.streak or 0) > 0 and (state == 'open' or same) then
    if state == 'closed' then
      end_run(call)
      redis.call('HDEL', KEYS[1], 'counted')
    end
    redis.call('HSET', KEYS[1], 'streak', 0)
    changed()
    return result(1)
  end
  return result(0)
end

if probe then
  note_refusal(call, at, epoch, parked, true)
  redis.call('HDEL', KEYS[1], 'faults')
  -- Another hold starts its own ladder, and its own count of probes.
  local another = own.hold ~= described('hold')
  if another then
    rung, failed, own.failed_by, began = 0, 0, nil, 1
  end
  open(refused(rung + 1), rung + 1, failed + 1, another)
  redis.call('HSET', KEYS[1], 'streak', 0, 'failed_by', append_each(own.failed_by, call, math.max(max_probes, 16)))
  describe()
  return result(1, max_probes > 0 and failed + 1 >= max_probes or ARGV[12] == '1' and is_convicted(call))
end
if state == 'closed' then
  -- An error of an older epoch has had its hold already.
  if not same then return result(0) end
  -- A report that is sent again, as after a lost reply, counts once.
  local counted = own.counted or ''
  if ARGV[8] ~= '' and string.find(counted, ARGV[8], 1, true) then return result(0) end
  note_refusal(call, at, epoch, parked, false)
  local streak = redis.call('HINCRBY', KEYS[1], 'streak', 1)
  if streak >= tonumber(ARGV[4]) then
    open(refused(1), 1, 0)
    redis.call('HSET', KEYS[1], 'streak', 0)
    describe()
  else
    redis.call('HSET', KEYS[1], 'counted', counted .. ARGV[8])
    changed()
  end
  return result(1)
end
note_refusal(call, at, tonumber(ARGV[1]), parked, false)
-- The endpoint's circuit is open already. Perhaps this call was sent because Redis has lost
-- the account's record, and with it the number of open endpoints.
if KEYS[1] ~= KEYS[2] and tonumber(redis.call('HGET', KEYS[2], 'endpoints') or 0) < 1 then
  redis.call('HSET', KEYS[2], 'endpoints', 1)
  changed()
end
-- The circuit is open already. A call that was sent before can only lengthen the hold, and
-- only to a time that the server itself gave.
local until_ms = hold(1)
if ARGV[5] == '1' and now < tonumber(own['until']) and until_ms > tonumber(own['until']) then
  redis.call('HSET', KEYS[1], 'until', until_ms)
  changed()
  return result(1)
end
return result(0)
