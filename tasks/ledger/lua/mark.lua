-- mark is the last step before the request: it asks once more whether the call may be
-- sent, and notes in its record that a call which must not be sent twice is being sent.
-- A worker that finds the mark later concludes that the call may have had its effect.
-- life.lua is prepended to it.
--
-- KEYS[1]   the call's record
-- KEYS[2]   the account's circuit record
-- KEYS[3]   asynq's task
-- KEYS[4]   the queue's fence, see fence.lua
-- ARGV[1]   the generation that the worker is making
-- ARGV[2]   the attempt's number; empty for a call that may be sent twice
-- ARGV[3]   the token of the account's probe, if the call holds it, or empty
-- ARGV[4]   the epoch that admitted the call
-- ARGV[5]   the call's starts when the worker took it
-- ARGV[6]   1 if the circuit record is the deciding one, and not a copy of it
-- ARGV[7]   the name of this worker's mark
-- ARGV[8]   the life of the fence, as far as the worker has seen
-- ARGV[9]   the highest number of a mark that it has seen
--
-- Returns {1, the mark's number} when the call may be sent, {0, ms} when its account is
-- held for that long or was held since, {-1} when the record has ended, or the call was
-- returned to its queue or taken again, {-2} when the worker has to ask about the fence
-- first.
-- Redis may run a mark that its worker has given up after the call was returned to its queue: such a mark must not stay.
local r = redis.call('HMGET', KEYS[1], 'state', 'gen', 'starts', 'settled', 'sent', 'mark', 'no')
if r[1] ~= 'open' or r[2] ~= ARGV[1] or (r[3] or '0') ~= ARGV[5] or r[4] == ARGV[5] then
  return {-1}
end
-- Its worker was considered dead and the call returned to its queue; no worker has
-- taken it yet.
if redis.pcall('HGET', KEYS[3], 'state') ~= 'active' then
  return {-1}
end
-- A Redis that has forgotten the last seconds delivers a call again under the same
-- count of starts: only one of the two workers marks it.
if r[5] and r[6] and r[6] ~= ARGV[7] then
  return {-1}
end
local c = redis.call('HMGET', KEYS[2], 'state', 'until', 'epoch', 'token')
local may
if ARGV[3] == '' then
  may = c[1] ~= 'open' and tonumber(c[3] or 0) == tonumber(ARGV[4])
else
  may = c[4] == ARGV[3] or ARGV[6] ~= '1' -- copies have no token
end
if not may then
  local t = redis.call('TIME')
  local wait = tonumber(c[2] or 0) - (t[1] * 1000 + math.floor(t[2] / 1000))
  return {0, math.max(wait, 0)}
end
if ARGV[2] == '' then
  return {1, 0}
end
local f, id = redis.pcall('HMGET', KEYS[4], 'life', 'run', 'open', 'n'), run()
local n = not f.err and tonumber(f[4])
if not n or n % 1 ~= 0 or n < tonumber(ARGV[9]) or f[1] ~= ARGV[8] or id ~= '' and id ~= f[2] or f[3] ~= '1' then
  return {-2}
end
if r[5] == ARGV[2] and r[6] == ARGV[7] and r[7] then
  return {1, tonumber(r[7]) or 0} -- the same request again, as after a lost reply
end
n = redis.call('HINCRBY', KEYS[4], 'n', 1)
redis.call('HSET', KEYS[1], 'sent', ARGV[2], 'mark', ARGV[7], 'no', n)
return {1, n}
