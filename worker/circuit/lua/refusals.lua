-- refusals distinguishes one call's own fault from the account's. It follows prelude.lua,
-- and precedes the scripts that change a circuit.
--
-- A run is the time between two good answers. The record has, for the current run:
--
--   refused        the calls that were refused, the latest last, at most 64; those whose
--                  refusal spent an attempt have a "!" in front
--   refused_at     the endpoint of the last one
--   refused_epoch  the epoch that admitted the last one
--   alone          in how many epochs in a row only the last one was refused; 0
--                  where another call was refused in the same epoch
--   as_probe       1 where the last one was refused as the probe
--   failed_by      the probes that failed in a row, the latest last
--   next           the call that must be the next probe; missing: any call except the last
--                  one, while another waits
--   other          1 where another call than the last one has asked and waits
--
-- And for several runs:
--
--   suspects       "CALL=STRIKES,RUNS" for each call that was refused in a run which
--                  another call's good answer ended, at most 32; a strike is an epoch in
--                  which only this call was refused
--   probes_good    how many probes on the first rung got a good answer, and how many were
--   probes_bad     refused, without those of suspects; newer ones count more
--   runs           how many runs there were
--   good_at        when a call of this circuit last got a good answer, in ms
--
-- The account's record has, for all circuits of the account:
--
--   convicted      the calls whose own fault is proven, at most 32: those with three
--                  strikes, or two in three runs, the last one as the probe. They end
--                  when they are dequeued
--
-- Where the end of a hold is a guess, the hold may have been too short, and then any call
-- is refused as the probe. So the number of strikes must be large compared with the share
-- of probes that are refused: if every second probe is refused, three strikes prove
-- little.
--
-- A CALL is "ID#GENERATION": a call that is redriven starts without strikes.

local function words(text)
  local list = {}
  for word in string.gmatch(text or '', '%S+') do list[#list + 1] = word end
  return list
end

-- append adds a word at the end, once, and drops the first words beyond most.
local function append(text, word, most)
  local list = {}
  for _, one in ipairs(words(text)) do
    if one ~= word then list[#list + 1] = one end
  end
  list[#list + 1] = word
  return table.concat(list, ' ', math.max(#list - most + 1, 1))
end

-- append_each is append for a list that may have a word several times.
local function append_each(text, word, most)
  local list = words(text)
  list[#list + 1] = word
  return table.concat(list, ' ', math.max(#list - most + 1, 1))
end

local function suspects_of(text)
  local list = {}
  for _, one in ipairs(words(text)) do
    local call, strikes, runs = string.match(one, '^(%S+)=(%d+),(%d+)$')
    if call then
      list[#list + 1] = {call = call, strikes = tonumber(strikes), runs = tonumber(runs)}
    end
  end
  return list
end

local function suspect(list, call)
  for _, one in ipairs(list) do
    if one.call == call then return one end
  end
  return {call = call, strikes = 0, runs = 0, new = true}
end

-- own_fault reports whether so many strikes would be unlikely (5 % or less) for a call
-- without a fault of its own, by the share of probes that are refused (by the rule of
-- succession).
local function own_fault(strikes)
  local good, bad = tonumber(own.probes_good or 0), tonumber(own.probes_bad or 0)
  return ((bad + 1) / (good + bad + 2)) ^ strikes <= 0.05
end

-- count_probe counts the result of a probe, if it was on the first rung.
local function count_probe(good, bad)
  if rung > 1 then
    return
  end
  good, bad = tonumber(own.probes_good or 0) + good, tonumber(own.probes_bad or 0) + bad
  if good + bad > 32 then
    good, bad = math.floor(good / 2), math.floor(bad / 2)
  end
  redis.call('HSET', KEYS[1], 'probes_good', good, 'probes_bad', bad)
end

-- note_refusal records that a call was refused. parked reports that the refusal spends no
-- attempt: only then it counts against the call.
local function note_refusal(call, at, admitted, parked, as_probe)
  if call == '' then
    return
  end
  if not parked then
    call = '!' .. call
  end
  local list = words(own.refused)
  local last, before, alone = list[#list], tonumber(own.refused_epoch), tonumber(own.alone or 0)
  if last and before and admitted < before then
    -- It was sent before another call was refused in a later epoch.
    if not string.find(' ' .. own.refused .. ' ', ' ' .. call .. ' ', 1, true) then
      redis.call('HSET', KEYS[1], 'refused', append(call .. ' ' .. own.refused, last, 64))
    end
    return
  end
  if not parked then
    alone = 0
  elseif before == admitted then
    if last ~= call then alone = 0 end
  elseif last == call and alone > 0 then
    alone = alone + 1
  else
    alone = 1
  end
  redis.call('HDEL', KEYS[1], 'next', 'other')
  redis.call('HSET', KEYS[1], 'refused', append(own.refused, call, 64), 'refused_at', at, 'refused_epoch', admitted,
    'alone', alone, 'as_probe', as_probe and 1 or 0)
  local known = suspects_of(own.suspects)
  if as_probe and suspect(known, call).new then
    count_probe(0, 1)
  end
  local strikes = suspect(known, call).strikes + alone
  if alone > 0 and (strikes == 2 or strikes > 2 and not as_probe) then
    redis.call('HSET', KEYS[1], 'next', call)
  elseif not as_probe and tonumber(own.probes_good or 0) + tonumber(own.probes_bad or 0) >= 2 and tonumber(own.runs or 0) % 4 > 0 then
    -- Calls that are refused together in several runs become the probe one by one, and
    -- other calls in between.
    local first
    for _, one in ipairs(words(append(own.refused, call, 64))) do
      local s = suspect(known, one)
      if s.runs >= 1 and (not first or s.strikes < first.strikes) then first = s end
    end
    if first then redis.call('HSET', KEYS[1], 'next', first.call) end
  end
end

-- is_convicted reports, for a probe that was refused, whether the fault is its own though
-- no other call is left that could get a good answer: it was refused in three runs, and
-- each of them ended with a good answer to another call, so the account works.
local function is_convicted(call)
  local s = suspect(suspects_of(own.suspects), call)
  return s.strikes >= 1 and s.runs >= 3 and own_fault(s.strikes + 1)
end

-- end_run records that a call got a good answer: the calls that were refused before become
-- suspects, and the last of them is convicted if the fault is proven to be its own.
local function end_run(by)
  local refused, known = words(own.refused), suspects_of(own.suspects)
  local last, list = refused[#refused], {}
  for _, call in ipairs(refused) do
    local s = suspect(known, call)
    s.runs = s.runs + 1
    if call == last then s.strikes = s.strikes + tonumber(own.alone or 0) end
    if call == by or string.sub(call, 1, 1) == '!' then
      s.done = true
    elseif call == last and own.as_probe == '1' and (s.strikes >= 3 or s.strikes == 2 and s.runs >= 3)
      and own_fault(s.strikes) then
      s.done = true
      redis.call('HSET', KEYS[2], 'convicted', append(redis.call('HGET', KEYS[2], 'convicted'), call, 32))
    end
    if s.new then known[#known + 1] = s end
  end
  for _, s in ipairs(known) do
    if not s.done and s.call ~= by then
      list[#list + 1] = string.format('%s=%d,%d', s.call, math.min(s.strikes, 99), math.min(s.runs, 99))
    end
  end
  redis.call('HINCRBY', KEYS[1], 'runs', 1)
  redis.call('HDEL', KEYS[1], 'refused', 'refused_at', 'refused_epoch', 'alone', 'as_probe', 'failed_by', 'next', 'other', 'suspects')
  if #list > 0 then
    redis.call('HSET', KEYS[1], 'suspects', table.concat(list, ' ', math.max(#list - 31, 1)))
  end
end
