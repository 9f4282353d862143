-- request is the first part of dequeue.lua: it names the arguments of a worker's
-- request, and reads the account's circuit.
--
-- Many accounts without work ask in one step.
if ARGV[6] == '1' then
  local keys = {}
  for q = 5, #KEYS - 1, 6 do
    for _, i in ipairs({0, 4, 5}) do keys[#keys + 1] = KEYS[q + i] end
  end
  if redis.call('EXISTS', unpack(keys)) == 0 then
    return {3, 0}
  end
end

local circuit, last_reply, request = KEYS[1], KEYS[#KEYS], ARGV[#ARGV]
local queues = {}
for q = 1, (#KEYS - 5) / 6 do
  local k, a = 6 * q - 1, 6 + 2 * q
  queues[q] = {
    pending = KEYS[k], paused = KEYS[k + 1], active = KEYS[k + 2], lease = KEYS[k + 3],
    scheduled = KEYS[k + 4], retry = KEYS[k + 5], task = ARGV[a], record = ARGV[a + 1],
  }
end
local limits_at = 8 + 2 * #queues
local plan = ARGV[limits_at]

local t = redis.call('TIME')
local now, micros = t[1] * 1000 + math.floor(t[2] / 1000), t[1] * 1000000 + t[2]
local c = {}
do
  local fields = {'state', 'until', 'turn', 'epoch', 'streak', 'endpoints', 'held', 'since', 'limited', 'limited_plan',
    'limited_turn', 'convicted'}
  local values = redis.call('HMGET', circuit, unpack(fields))
  for i, field in ipairs(fields) do c[field] = values[i] end
end
-- after_hold is true when a hold is over and no probe was delivered yet.
local held, after_hold = number(c.held), c.state == 'open'
if after_hold then
  held = held + now - (tonumber(c.since) or now)
end
local several = #ARGV[3] > 1 and not after_hold
