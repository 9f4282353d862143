-- admission is the part of dequeue.lua that decides whether the account may call,
-- which call is the probe after a hold, and how many calls may be taken.
--
-- wait_for_hold returns for how many ms the account must not call; 0: it may call now.
local function wait_for_hold()
  local wait = 0
  if after_hold then
    wait = tonumber(c['until']) - now
    if wait <= 0 and c.turn then
      wait = tonumber(c.turn) - now
    end
  end
  if wait <= 0 and c.limited and c.limited_plan == plan then
    wait = tonumber(c.limited) - now
  end
  return math.max(wait, 0)
end

-- candidates returns waiting calls that can be the next probe: the first ones of every
-- queue, and some from the rest of it, in case the first ones are refused one after the
-- other.
local function candidates()
  local list = {}
  for q, queue in ipairs(queues) do
    local n = 0
    if redis.call('EXISTS', queue.paused) == 0 then
      n = redis.call('LLEN', queue.pending)
    end
    local at = {}
    for i = 1, math.min(n, 32) do at[i] = -i end
    for i = 1, n > 32 and 16 or 0 do at[#at + 1] = -32 - math.ceil((n - 32) * i / 16) end
    for _, i in ipairs(at) do
      local id = redis.call('LINDEX', queue.pending, i)
      local r = redis.pcall('HMGET', queue.record .. id, 'state', 'gen', 'content', 'attempts')
      if r[1] == 'open' and r[3] then
        -- A large call is not decoded, since that takes too long; its endpoint stays
        -- unknown.
        local ok, call = pcall(cjson.decode, #r[3] <= 65536 and r[3] or '{}')
        call = ok and type(call) == 'table' and call or {}
        list[#list + 1] = {q, id, r[2] or '', tostring(call.method or ''), tostring(call.path or ''), r[4] or ''}
      end
    end
  end
  return list
end

-- choose_probe moves the call that the worker has chosen as the probe to the head of
-- its queue, chosen. If the worker has to choose first, or another worker has taken
-- that call, it returns the script's reply.
local chosen
local function choose_probe()
  if not after_hold then
    return nil
  end
  local q, id = string.match(ARGV[7], '^(%d+) (.+)$')
  if q then
    chosen = tonumber(q)
    local pending = queues[chosen].pending
    if redis.call('LREM', pending, -1, id) == 0 then
      return {0, 1} -- another worker has taken it
    end
    redis.call('RPUSH', pending, id)
    return nil
  end
  local p = redis.call('HMGET', circuit, 'refused', 'refused_at', 'next', 'failed')
  local list = p[1] and candidates() or {}
  if #list > 0 then
    return {5, p[1], p[2] or '', p[3] or '', number(p[4]), unpack(list)}
  end
end

-- calls are those that were taken; want is how many may be taken. refusal is the
-- script's reply if no call was taken.
local calls, want, refusal = {}, #ARGV[3], nil
if after_hold then
  want = 1
end

-- admit decides whether the account may make more calls, and how many. It runs once,
-- when a call is waiting. It returns a refusal or nothing.
local asked, limited = false, nil
local function admit()
  asked = true
  local max = tonumber(ARGV[4])
  if max > 0 then
    local inflight = tonumber(ARGV[5])
    for _, queue in ipairs(queues) do inflight = inflight + redis.call('LLEN', queue.active) end
    if inflight >= max then
      -- Calls of dead workers are still active, but their leases run out.
      inflight = tonumber(ARGV[5])
      for _, queue in ipairs(queues) do inflight = inflight + redis.call('ZCOUNT', queue.lease, t[1], '+inf') end
      if inflight >= max then
        return {2}
      end
    end
    want = math.min(want, max - inflight)
  end
  limited = limits(KEYS[2], KEYS[3], KEYS[4], limits_at)
end

-- take_slot gives a call its slot; it returns false when there is none.
local function take_slot(call)
  if not limited then
    return true
  end
  -- No two slots have the same microsecond: it identifies a slot when the slot is
  -- returned.
  local at = micros + #calls
  local slot, wait, reason, key, rule, turns = limited.peek(at)
  if slot then
    call.slot, call.wait = digits(slot), math.max(math.floor(slot - at), 0)
    call.money = text(limited.take(at, slot))
    return true
  end
  want = #calls
  if want == 0 then
    write_limited(circuit, plan, now, wait, reason, key, rule, turns)
    -- A rate that allows its next call within a second is not a hold.
    refusal = {0, wait, (turns or wait >= 1000) and reason or ''}
  end
  return false
end
