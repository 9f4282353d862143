-- report tells the circuit what one call met.
--
-- ARGV[1]   the epoch that admitted the call
-- ARGV[2]   the call's probe token, or empty
-- ARGV[3]   error    an error of the circuit's own
--           fault    a transient fault: says nothing about the account
--           answer   any other answer of the API: the account works
--           unsent   the call did not go out
-- ARGV[4]   how many errors in a row open the circuit
-- ARGV[5]   1 if the server itself said until when
-- ARGV[6]   from how many failed probes on calls are given up unsent; 0: never
-- ARGV[7]   the first rate of an adaptive limit that this error lowers; 0: none
-- ARGV[8]   tells this report from any other, and not from its repetition; or
--           empty
-- ARGV[9]   the call, as refusals.lua names it, or empty
-- ARGV[10]  the call's endpoint
-- ARGV[11]  1 if an error spends no attempt: the call is parked
-- ARGV[12]  1 if every call that waits has been refused since the last good answer
-- ARGV[13]  how many of the following are delays: the hold in milliseconds for
--           the first rung, the second…; the last repeats. Those of a fault are
--           for the first fault in a row, the second…
-- ARGV[..]  the delays, then pairs of field and value that describe the error; of a
--           fault only one, of which the value counts
--
-- Returns {1 if the record changed, else 0; 1 if the circuit is open, else 0; its
-- epoch; for how many more milliseconds it is held; 1 if the call was the last of
-- the probes that may fail, or is convicted, and ends, else 0; the record, if it changed}.

-- First of the writes, though it removes nothing: it needs no memory, and a
-- script that has written may go on when Redis is full. A hold that is not
-- written costs calls.
redis.call('HDEL', KEYS[1], '')

local delays, first_rate, max_probes = tonumber(ARGV[13]), tonumber(ARGV[7]), tonumber(ARGV[6])
local call, at, parked = ARGV[9], ARGV[10], ARGV[11] == '1'
local function hold(n)
  return now + tonumber(ARGV[13 + math.max(1, math.min(n, delays))])
end
-- refused is the end of the hold that an error of the circuit's own begins. It
-- lowers an adaptive rate, once an epoch: then the first rung is the next slot
-- at the new rate, and the ladder begins when that was not enough.
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
  if r[1] ~= 'open' then return {n, 0, tonumber(r[2] or 0), 0, 0, record} end
  return {n, 1, tonumber(r[2]), tonumber(r[3]) - now, ends and 1 or 0, record}
end
local same = tonumber(ARGV[1]) == epoch
local probe = ARGV[2] ~= '' and own.token == ARGV[2]
if ARGV[2] ~= '' and own.token == 'unknown' and same and ARGV[3] ~= 'unsent' then
  probe = true -- the record was written back by who did not know whose the probe is
end

if ARGV[3] == 'unsent' then
  if not probe then return result(0) end
  redis.call('HDEL', KEYS[1], 'token', 'lease', 'turn')
  changed()
  return result(1)
end

if ARGV[3] == 'fault' then
  if not probe then return result(0) end
  -- The time of the hold has passed, and this says nothing about the account: the
  -- next probe goes out soon. The hold stays what it was, and on its rung.
  local faults = redis.call('HINCRBY', KEYS[1], 'faults', 1)
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
  if state == 'closed' and same and tonumber(own.streak or 0) > 0 then
    end_run(call)
    redis.call('HDEL', KEYS[1], 'counted')
    redis.call('HSET', KEYS[1], 'streak', 0)
    changed()
    return result(1)
  end
  return result(0)
end

if probe then
  note_refusal(call, at, epoch, parked, true)
  redis.call('HDEL', KEYS[1], 'faults')
  -- Another kind of hold begins its own ladder, and its own count of probes.
  if own.hold ~= described('hold') then
    rung, failed, own.failed_by = 0, 0, nil
  end
  open(refused(rung + 1), rung + 1, failed + 1)
  redis.call('HSET', KEYS[1], 'failed_by', append_each(own.failed_by, call, math.max(max_probes, 16)))
  describe()
  return result(1, max_probes > 0 and failed + 1 >= max_probes or ARGV[12] == '1' and stands_convicted(call))
end
if state == 'closed' then
  -- What an older epoch met was answered by the hold that ended it.
  if not same then return result(0) end
  -- One that comes again, as after a lost reply, counts once.
  local counted = own.counted or ''
  if ARGV[8] ~= '' and string.find(counted, ARGV[8], 1, true) then return result(0) end
  note_refusal(call, at, epoch, parked, false)
  local streak = redis.call('HINCRBY', KEYS[1], 'streak', 1)
  if streak >= tonumber(ARGV[4]) then
    open(refused(1), 1, 0)
    describe()
  else
    redis.call('HSET', KEYS[1], 'counted', counted .. ARGV[8])
    changed()
  end
  return result(1)
end
note_refusal(call, at, tonumber(ARGV[1]), parked, false)
-- A call of an endpoint that is held may have gone out because Redis has lost the
-- account's record, and with it how many endpoints are held.
if KEYS[1] ~= KEYS[2] and tonumber(redis.call('HGET', KEYS[2], 'endpoints') or 0) < 1 then
  redis.call('HSET', KEYS[2], 'endpoints', 1)
  changed()
end
-- The account is held already. A call that was under way when that happened may
-- only lengthen the hold, and only by what the server said.
local until_ms = hold(1)
if ARGV[5] == '1' and now < tonumber(own['until']) and until_ms > tonumber(own['until']) then
  redis.call('HSET', KEYS[1], 'until', until_ms)
  changed()
  return result(1)
end
return result(0)
