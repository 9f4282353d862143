-- dequeue stands in for asynq's own: it moves the next task of an upstream from
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
-- ARGV[1]   end of the task's lease, Unix seconds
-- ARGV[2]   for how many milliseconds a task that was let out after a hold keeps
--           the others back, unless its verdict comes first
-- ARGV[3]   which of the queues is asked first, from 1
-- ARGV[4]   how many calls may be in flight; 0: any number
-- ARGV[5]   how many are in flight from queues that are not asked here
-- ARGV[6]   1 if the queues were empty last time, and likely still are
-- ARGV[7..] for each queue asynq's task key prefix and the record key prefix
-- ARGV[..]  the limits
--
-- Returns {3, when the next task is due, Unix seconds, or 0} when there is nothing
-- to do; {0, ms} when the account may not call for that long; {2} when as many
-- calls are in flight as may be; {4, message, id, which queue} when a dead letter
-- was met that somebody runs again by asynq's means: it is in the archive as
-- before, and waits for its redrive; else {1,
-- message, id, which queue, now, after a hold (0 or 1), epoch, streak, open
-- endpoint circuits, milliseconds held in all, starts, slot, microseconds until
-- the slot, money reserved, the record}. The starts tell one taking of a call from
-- the next.
local queues = (#KEYS - 3) / 6
local limits_at = 7 + 2 * queues
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
  'limited', 'limited_plan', 'limited_turn')
local held, after_hold = tonumber(c[7] or 0), 0
if c[1] == 'open' then
  local wait = tonumber(c[2]) - now
  if wait <= 0 and c[3] then
    wait = tonumber(c[3]) - now
  end
  if wait > 0 then
    return {0, wait}
  end
  after_hold = 1
  held = held + now - tonumber(c[8] or now)
end
if c[9] and c[10] == ARGV[limits_at] and tonumber(c[9]) > now then
  return {0, tonumber(c[9]) - now}
end

-- may tells whether the account may make one more call: asked once, when there
-- is a call that waits for it. What it returns ends the script.
local asked, l, slot
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
  end
  l = limits(KEYS[2], KEYS[3], limits_at)
  if l then
    local micros = t[1] * 1000000 + t[2]
    local wait, reason, key, text, turns
    slot, wait, reason, key, text, turns = l.peek(micros)
    if not slot then
      redis.call('HSET', KEYS[1], 'limited', now + wait, 'limited_plan', ARGV[limits_at],
        'limited_by', reason, 'limited_key', key, 'limited_text', text, 'limited_turn', turns and 1 or 0)
      return {0, wait}
    end
  end
end

-- The first call after a hold, or in a window that has turned, is the most urgent
-- one, whoever asks.
local first = tonumber(ARGV[3])
if after_hold == 1 or c[11] == '1' then
  first = 1
end
local swept = false
for i = 0, queues do
  local q = i == 0 and first or i
  local pending, active = KEYS[6 * q - 2], KEYS[6 * q]
  local open = not (i == first) and redis.call('LLEN', pending) > 0 and redis.call('EXISTS', KEYS[6 * q - 1]) == 0
  if open and not asked then
    local no = may()
    if no then
      return no
    end
  end
  -- Tasks that ended while they waited (cancelled, or finished by a worker that
  -- died before asynq was told) are taken off here and never reach a worker.
  for _ = 1, open and 100 or 0 do
    local id = redis.call('RPOPLPUSH', pending, active)
    if not id then
      break
    end
    local task, record = ARGV[5 + 2 * q] .. id, ARGV[6 + 2 * q] .. id
    local msg = redis.call('HGET', task, 'msg')
    local fields = redis.call('HGETALL', record)
    local state
    for j = 1, #fields, 2 do
      if fields[j] == 'state' then
        state = fields[j + 1]
        break
      end
    end
    if not msg or (state and state ~= 'open') then
      swept = true
      redis.call('LREM', active, 1, id)
      -- The text with which its worker had it archived is the last error of a task
      -- only where nothing but Run came after it.
      if state == 'dead' and msg and string.find(msg, '[callq ' .. id .. ' g', 1, true) then
        redis.call('HSET', task, 'state', 'archived')
        redis.call('ZADD', string.gsub(pending, 'pending$', 'archived'), t[1], id)
        return {4, msg, id, q}
      end
      redis.call('DEL', task)
    else
      redis.call('HSET', task, 'state', 'active')
      redis.call('ZADD', KEYS[6 * q + 1], ARGV[1], id)
      local starts, money = 0, 0
      if state then
        starts = redis.call('HINCRBY', record, 'starts', 1)
      end
      if l then
        money = l.take(t[1] * 1000000 + t[2], slot)
      end
      if after_hold == 1 then
        redis.call('HSET', KEYS[1], 'turn', now + ARGV[2])
      end
      if c[9] then
        redis.call('HDEL', KEYS[1], 'limited', 'limited_plan', 'limited_by', 'limited_key', 'limited_text',
          'limited_turn')
      end
      local micros = t[1] * 1000000 + t[2]
      return {1, msg, id, q, now, after_hold, tonumber(c[4] or 0), tonumber(c[5] or 0), tonumber(c[6] or 0), held,
        starts, slot and string.format('%.0f', slot) or 0, slot and math.max(math.floor(slot - micros), 0) or 0,
        string.format('%.0f', money), fields}
    end
  end
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
