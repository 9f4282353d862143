-- dequeue replaces asynq's own script: it moves the next tasks of an upstream from
-- pending to active, unless the account must not call now. When a hold is over it
-- delivers a single task, whose worker then asks for the probe.
--
-- These are prepended to it: its parts pack.lua, request.lua, replay.lua, admission.lua
-- and grab.lua; limited.lua, number.lua and states.lua, which they need; and a function
-- limits(state, slots, sent, at), which decides whether the limits allow a call
-- (worker/limit) and returns nil without limits.
--
-- KEYS[1]   the account's circuit record
-- KEYS[2]   the account's limits: state
-- KEYS[3]   the account's limits: slots that were returned
-- KEYS[4]   the account's limits: slots whose calls' answers were not reported
-- KEYS[5..] for each queue that is asked, the most urgent first: asynq's pending
--           list, pause mark (the operator's), active list, lease set, scheduled
--           set and retry set
-- KEYS[..]  the reply to the worker's last request for several tasks
-- ARGV[1]   end of the tasks' lease, Unix seconds
-- ARGV[2]   for how many milliseconds a task that was delivered after a hold keeps the
--           others waiting, unless its outcome comes first
-- ARGV[3]   a digit for each task that is wanted: the queue that is asked for it first,
--           from 1
-- ARGV[4]   how many calls may be inflight; 0: any number
-- ARGV[5]   how many are inflight from queues that are not asked here
-- ARGV[6]   1 if the queues were empty last time, and probably still are
-- ARGV[7]   after a hold: the number of the queue, from 1, and the id of the call that
--           is to be the probe, with a space between; empty: not chosen yet
-- ARGV[8..] for each queue asynq's task key prefix and the record key prefix
-- ARGV[..]  the limits
-- ARGV[..]  the worker's name. A task's field worker holds it and the number of starts
--           at which the worker took the task
-- ARGV[..]  the request's number: a request that is sent again, as after a lost reply,
--           is answered with the same tasks, as long as they are its worker's
--
-- Returns {3, when the next task is due, Unix seconds, or 0} when no task waits; {0, ms,
-- reason} when the account must not call for that long, with the reason (limit, budget)
-- if a hold by a limit begins now; {2} when as many calls are inflight
-- as may be; {4, message, id, queue} when it met a dead letter that asynq's tools have
-- run: it waits, behind all others, for its redrive; else {1, now, after a hold (0 or
-- 1), epoch, streak, open endpoint circuits, milliseconds held in all, convicted,
-- calls…}, where each call is packed, see pack.lua. The starts distinguish one delivery of a
-- call from the next.
--
-- It reads before it writes, so that a failing read leaves everything as it was.

local function reply(calls)
  local packed = {}
  for i, call in ipairs(calls) do packed[i] = pack(call) end
  return {1, now, after_hold and 1 or 0, number(c.epoch), number(c.streak), number(c.endpoints), held, c.convicted or '', unpack(packed)}
end

local wait = wait_for_hold()
if wait > 0 then
  return {0, wait}
end
local given = replay()
if given then
  return reply(given)
end
local choice = choose_probe()
if choice then
  return choice
end

-- The first call after a hold, or in a new window of a limit, is the most urgent one,
-- whichever worker asks, unless the probe was chosen.
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
-- Calls that one queue does not have are taken from the others.
for q = 1, #queues do grab(q, want - #calls) end
if refusal then
  return refusal
end
if limited then
  limited.write()
end
if #calls > 0 then
  if after_hold then
    redis.call('HSET', circuit, 'turn', now + ARGV[2])
  end
  if c.limited then
    clear_limited(circuit)
  end
  remember(calls)
  return reply(calls)
end
if swept then
  return {0, 1} -- there may be tasks behind those that were removed
end
local due = 0
for _, queue in ipairs(queues) do
  for _, set in ipairs({queue.scheduled, queue.retry}) do
    local at = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2]
    if at and (due == 0 or tonumber(at) < due) then due = tonumber(at) end
  end
end
return {3, string.format('%.0f', due)}
