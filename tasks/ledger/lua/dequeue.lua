-- dequeue stands in for asynq's own: it moves the next tasks of an upstream from
-- pending to active, unless the account may not call now. When a hold is over it
-- lets a single task out, whose worker then asks for the probe.
--
-- In front of it stands a function limits(state, slots, at), which has a say in
-- whether the account may call (worker/limit); without limits it returns nil.
--
-- KEYS[1]   the account's circuit record
-- KEYS[2]   the account's limits: state
-- KEYS[3]   the account's limits: slots that were given back
-- KEYS[4..] for each queue that is asked, the most urgent first: asynq's pending
--           list, pause mark (the operator's), active list, lease set, scheduled
--           set and retry set
-- KEYS[..]  what the worker's last question for several tasks was answered
-- ARGV[1]   end of the tasks' lease, Unix seconds
-- ARGV[2]   for how many milliseconds a task that was let out after a hold keeps
--           the others back, unless its verdict comes first
-- ARGV[3]   a digit for each task that is wanted: which of the queues is asked for
--           it first, from 1
-- ARGV[4]   how many calls may be in flight; 0: any number
-- ARGV[5]   how many are in flight from queues that are not asked here
-- ARGV[6]   1 if the queues were empty last time, and likely still are
-- ARGV[7]   after a hold: which of the queues, from 1, and the id of the call that is
--           to be the probe, with a space between; empty: not chosen yet
-- ARGV[8..] for each queue asynq's task key prefix and the record key prefix
-- ARGV[..]  the limits
-- ARGV[..]  the worker's name: with it a task's field worker tells who has taken it,
--           with the starts behind it at which that was
-- ARGV[..]  the question's number: one that is sent again, as after a lost reply, is
--           answered with the tasks that it was given, while they are its worker's
--
-- Returns {3, when the next task is due, Unix seconds, or 0} when there is nothing
-- to do; {0, ms} when the account may not call for that long; {2} when as many
-- calls are in flight as may be; {4, message, id, which queue} when a dead letter
-- was met that somebody runs again by asynq's means: it waits, behind all others,
-- for its redrive; else {1, now, after a hold (0 or 1), epoch,
-- streak, open endpoint circuits, milliseconds held in all, calls…}, where each
-- call is {message, id, which queue, starts, slot, microseconds until the slot,
-- money reserved, the record}. The starts tell one taking of a call from the next.
--
-- It asks first and then writes, so that what it stumbles over is left as it was.
-- After so many bytes of records no more calls are taken: Redis does nothing else
-- meanwhile.
local heavy = 1048576
local ended = {done = true, dropped = true, dead = true, cancelled = true}
local queues = (#KEYS - 4) / 6
local limits_at = 8 + 2 * queues
local worker = ARGV[#ARGV - 1] .. ' '
if ARGV[6] == '1' then
  -- Many accounts that have nothing to do ask in one step.
  local keys = {}
  for q = 1, queues do
    for _, i in ipairs({-2, 2, 3}) do keys[#keys + 1] = KEYS[6 * q + i] end
  end
  if redis.call('EXISTS', unpack(keys)) == 0 then
    return {3, 0}
  end
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local c = redis.call('HMGET', KEYS[1], 'state', 'until', 'turn', 'epoch', 'streak', 'endpoints', 'held', 'since',
  'limited', 'limited_plan', 'limited_turn', 'convicted')
-- What is no number would cut the answer short.
local function number(text) return tonumber(text) or 0 end
local held, after_hold = number(c[7]), 0
if c[1] == 'open' then
  local wait = tonumber(c[2]) - now
  if wait <= 0 and c[3] then
    wait = tonumber(c[3]) - now
  end
  if wait > 0 then
    return {0, wait}
  end
  after_hold = 1
  held = held + now - (tonumber(c[8]) or now)
end
if c[9] and c[10] == ARGV[limits_at] and tonumber(c[9]) > now then
  return {0, tonumber(c[9]) - now}
end

local function answer(calls)
  return {1, now, after_hold, number(c[4]), number(c[5]), number(c[6]), held, c[12] or '', unpack(calls)}
end
local several = #ARGV[3] > 1 and after_hold == 0
local given = several and redis.call('GET', KEYS[#KEYS])
if given and string.match(given, '^%S+') == ARGV[#ARGV] then
  local calls = {}
  for q, slot, wait, money, start, id in string.gmatch(given, '\n(%d) (%S+) (%S+) (%S+) (%S+) ([^\n]+)') do
    q = tonumber(q)
    local msg, fields, starts = redis.call('HGET', ARGV[6 + 2 * q] .. id, 'msg'), redis.call('HGETALL', ARGV[7 + 2 * q] .. id), 0
    for j = 1, #fields, 2 do
      if fields[j] == 'starts' then
        starts = tonumber(fields[j + 1])
        fields[j + 1] = tostring(starts - 1) -- as it was found
      end
    end
    -- Without its lease the call was put back; by another start another worker has it.
    if msg and starts == tonumber(start) and redis.call('ZSCORE', KEYS[6 * q + 1], id) then
      calls[#calls + 1] = {msg, id, q, starts, slot, tonumber(wait), money, fields}
    end
  end
  if #calls > 0 then
    return answer(calls)
  end
end

-- candidates are calls that wait and can be the next probe: the first ones of
-- every queue, and some from all over it, in case the first ones are refused one
-- after the other.
local function candidates()
  local list = {}
  for q = 1, queues do
    local pending, n = KEYS[6 * q - 2], 0
    if redis.call('EXISTS', KEYS[6 * q - 1]) == 0 then
      n = redis.call('LLEN', pending)
    end
    local at = {}
    for i = 1, math.min(n, 32) do at[i] = -i end
    for i = 1, n > 32 and 16 or 0 do at[#at + 1] = -32 - math.ceil((n - 32) * i / 16) end
    for _, i in ipairs(at) do
      local id = redis.call('LINDEX', pending, i)
      local r = redis.pcall('HMGET', ARGV[7 + 2 * q] .. id, 'state', 'gen', 'content')
      if r[1] == 'open' and r[3] then
        -- A large one is not worth the time; its endpoint stays unknown.
        local ok, call = pcall(cjson.decode, #r[3] <= 65536 and r[3] or '{}')
        call = ok and type(call) == 'table' and call or {}
        list[#list + 1] = {q, id, r[2] or '', tostring(call.method or ''), tostring(call.path or '')}
      end
    end
  end
  return list
end

local chosen, chosen_id = string.match(ARGV[7], '^(%d+) (.+)$')
if after_hold == 0 then
  chosen = nil
elseif chosen then
  chosen = tonumber(chosen)
  local pending = KEYS[6 * chosen - 2]
  if redis.call('LREM', pending, -1, chosen_id) == 0 then
    return {0, 1} -- somebody else has it
  end
  redis.call('RPUSH', pending, chosen_id) -- it is the next one
else
  local p = redis.call('HMGET', KEYS[1], 'refused', 'refused_at', 'next', 'failed')
  local list = p[1] and candidates() or {}
  if #list > 0 then
    return {5, p[1], p[2] or '', p[3] or '', number(p[4]), unpack(list)}
  end
end

-- may tells whether the account may make more calls, and how many: asked once,
-- when there is a call that waits for it. What it returns ends the script.
local want, asked, l = #ARGV[3], false, nil
local function may()
  asked = true
  local most = tonumber(ARGV[4])
  if most > 0 then
    local flying = tonumber(ARGV[5])
    for q = 1, queues do flying = flying + redis.call('LLEN', KEYS[6 * q]) end
    if flying >= most then
      -- Those whose worker died are still active, but their lease runs out.
      flying = tonumber(ARGV[5])
      for q = 1, queues do flying = flying + redis.call('ZCOUNT', KEYS[6 * q + 1], t[1], '+inf') end
      if flying >= most then
        return {2}
      end
    end
    want = math.min(want, most - flying)
  end
  l = limits(KEYS[2], KEYS[3], limits_at)
end

-- place gives a call its slot; false when there is none.
local micros = t[1] * 1000000 + t[2]
local calls, refusal, swept, looked, weight, shut = {}, nil, false, 0, 0, {}
local function place(call)
  if not l then
    return true
  end
  -- No two slots are of the same microsecond: by it they are told apart when they
  -- are given back.
  local at = micros + #calls
  local slot, wait, reason, key, text, turns = l.peek(at)
  if slot then
    call[5], call[6] = string.format('%.0f', slot), math.max(math.floor(slot - at), 0)
    call[7] = string.format('%.0f', l.take(at, slot))
    return true
  end
  want = #calls
  if want == 0 then
    redis.call('HSET', KEYS[1], 'limited', now + wait, 'limited_plan', ARGV[limits_at],
      'limited_by', reason, 'limited_key', key, 'limited_text', text, 'limited_turn', turns and 1 or 0)
    refusal = {0, wait}
  end
  return false
end

-- countable tells whether Redis can add one to what stands in a record.
local function countable(text)
  local n = tonumber(text)
  return n and #text < 16 and string.format('%.0f', n) == text and text ~= '-0'
end

-- grab moves up to n tasks of a queue. Tasks that ended while they waited
-- (cancelled, or finished by a worker that died before asynq was told) are taken
-- off here and never reach a worker.
local function grab(q, n)
  local pending, task, record = KEYS[6 * q - 2], ARGV[6 + 2 * q], ARGV[7 + 2 * q]
  while not (shut[q] or refusal) and n > 0 and #calls < want and looked < 100 + want do
    local ids = redis.call('LRANGE', pending, -math.min(n, want - #calls), -1)
    shut[q] = #ids == 0 or (shut[q] == nil and redis.call('EXISTS', KEYS[6 * q - 1]) == 1)
    if not (shut[q] or asked) then
      refusal = may()
    end
    if shut[q] or refusal then
      return
    end
    local moved, leases, over, forged, seen = {}, {}, {}, {}, 0
    for i = #ids, 1, -1 do -- the next one stands last
      local id = ids[i]
      local msg, fields, state = redis.call('HGET', task .. id, 'msg'), redis.call('HGETALL', record .. id), nil
      for j = 1, #fields, 2 do
        if fields[j] == 'state' then
          state = fields[j + 1]
        elseif fields[j] == 'starts' and not countable(fields[j + 1]) then
          forged[#forged + 1] = record .. id
        end
        weight = weight + #fields[j + 1]
      end
      if state == 'dead' and msg and string.find(msg, '[callq ' .. id .. ' g', 1, true) then
        -- The text with which its worker had it archived is the last error of a
        -- task only where nothing but Run came after it.
        if #calls > 0 then
          want = #calls -- it is the first next time
          break
        end
        -- Where the worker dies before the redrive, it is met again.
        redis.call('LPUSH', pending, id)
        refusal, seen = {4, msg, id, q}, seen + 1
        break
      elseif not msg or ended[state] then
        over[#over + 1] = task .. id
      else
        -- One in a state that there is not is the worker's to end.
        local call = {msg, id, q, #fields > 0 and 1 or 0, 0, 0, 0, fields}
        if #calls == want or not place(call) then
          break
        end
        calls[#calls + 1], moved[#moved + 1] = call, id
        if weight > heavy then
          want = #calls
        end
        leases[#leases + 1], leases[#leases + 2] = ARGV[1], id
      end
      seen = seen + 1
    end
    if #moved > 0 then
      redis.call('LPUSH', KEYS[6 * q], unpack(moved))
      redis.call('ZADD', KEYS[6 * q + 1], unpack(leases))
    end
    redis.call('LTRIM', pending, 0, -seen - 1)
    if #over > 0 then
      swept = true
      redis.call('DEL', unpack(over))
    end
    for _, one in ipairs(forged) do
      redis.call('HSET', one, 'starts', -1) -- something to count from that is still none of callq's
    end
    for i = #calls - #moved + 1, #calls do
      local call = calls[i]
      if call[4] == 1 then
        call[4] = redis.call('HINCRBY', record .. call[2], 'starts', 1)
      end
      redis.call('HSET', task .. call[2], 'state', 'active', 'worker', worker .. string.format('%.0f', call[4]))
    end
    looked, n = looked + seen, n - #moved
  end
end

-- The first call after a hold, unless it was chosen, or in a window that has
-- turned, is the most urgent one, whoever asks.
local first, share = tonumber(string.sub(ARGV[3], 1, 1)), {}
if after_hold == 1 then
  want = 1
end
for i = 1, want do
  local q = tonumber(string.sub(ARGV[3], i, i))
  if after_hold == 1 or c[11] == '1' then
    q = chosen or 1
    first = q
  end
  share[q] = (share[q] or 0) + 1
end
grab(first, share[first])
for q = 1, queues do
  if q ~= first then grab(q, share[q] or 0) end
end
-- What a queue does not have goes to the others.
for q = 1, queues do grab(q, want - #calls) end
if refusal then
  return refusal
end
if #calls > 0 then
  if after_hold == 1 then
    redis.call('HSET', KEYS[1], 'turn', now + ARGV[2])
  end
  if c[9] then
    redis.call('HDEL', KEYS[1], 'limited', 'limited_plan', 'limited_by', 'limited_key', 'limited_text', 'limited_turn')
  end
  if several and #calls > 1 then
    local lines = {ARGV[#ARGV]}
    for n, call in ipairs(calls) do
      lines[n + 1] = table.concat({call[3], call[5], call[6], call[7], call[4], call[2]}, ' ')
    end
    redis.call('SET', KEYS[#KEYS], table.concat(lines, '\n'), 'EX', 25)
  end
  return answer(calls)
end
if swept then
  return {0, 1} -- there may be more behind them
end
local due = 0
for q = 1, queues do
  for i = 2, 3 do
    local first = redis.call('ZRANGE', KEYS[6 * q + i], 0, 0, 'WITHSCORES')[2]
    if first and (due == 0 or tonumber(first) < due) then due = tonumber(first) end
  end
end
return {3, string.format('%.0f', due)}
