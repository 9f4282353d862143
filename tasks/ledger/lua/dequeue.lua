-- dequeue stands in for asynq's own: it moves the next tasks of an upstream from
-- pending to active, unless the account may not call now. When a hold is over it
-- lets a single task out, whose worker then asks for the probe.
--
-- In front of it stand its parts: question.lua, replay.lua, admission.lua and grab.lua;
-- what these need: limited.lua, number.lua and states.lua; and a function
-- limits(state, slots, at), which has a say in whether the account may call
-- (worker/limit) and returns nil without limits.
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
local function answer(calls)
  return {1, now, after_hold and 1 or 0, number(c.epoch), number(c.streak), number(c.endpoints), held, c.convicted or '', unpack(calls)}
end

local wait = wait_for_hold()
if wait > 0 then
  return {0, wait}
end
local given = replay()
if given then
  return answer(given)
end
local choice = choose_probe()
if choice then
  return choice
end

-- The first call after a hold, unless it was chosen, or in a window that has
-- turned, is the most urgent one, whoever asks.
local first, share = tonumber(string.sub(ARGV[3], 1, 1)), {}
for i = 1, want do
  local q = tonumber(string.sub(ARGV[3], i, i))
  if after_hold or c.limited_turn == '1' then
    q = chosen or 1
    first = q
  end
  share[q] = (share[q] or 0) + 1
end
grab(first, share[first])
for q = 1, #queues do
  if q ~= first then grab(q, share[q] or 0) end
end
-- What a queue does not have goes to the others.
for q = 1, #queues do grab(q, want - #calls) end
if refusal then
  return refusal
end
if #calls > 0 then
  if after_hold then
    redis.call('HSET', circuit, 'turn', now + ARGV[2])
  end
  if c.limited then
    clear_limited(circuit)
  end
  remember(calls)
  return answer(calls)
end
if swept then
  return {0, 1} -- there may be more behind them
end
local due = 0
for _, queue in ipairs(queues) do
  for _, set in ipairs({queue.scheduled, queue.retry}) do
    local at = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2]
    if at and (due == 0 or tonumber(at) < due) then due = tonumber(at) end
  end
end
return {3, string.format('%.0f', due)}
