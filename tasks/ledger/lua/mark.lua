-- mark is the last step before the request: it asks once more whether the call may be
-- sent, and notes in its record that a call which must not be sent twice is being sent.
-- A worker that finds the mark later concludes that the call may have had its effect.
-- life.lua is prepended to it.
--
-- It marks the calls of one queue that are about to be sent at the same time.
--
-- KEYS[1]   the account's circuit record
-- KEYS[2]   the queue's fence, see fence.lua
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   the record key prefix
-- ARGV[3]   1 if the circuit record is the deciding one, and not a copy of it
-- ARGV[4..] for each call:
--           its id
--           the generation that the worker is making
--           the attempt's number; empty for a call that may be sent twice
--           the token of the account's probe, if the call holds it, or empty
--           the epoch that admitted the call
--           the call's starts when the worker took it
--           the name of this worker's mark
--           the life of the fence, as far as the worker has seen
--           the highest number of a mark that it has seen
--
-- Returns two numbers for each call: 1 and the mark's number when the call may be sent; 0 and
-- for how many ms its account is held, or 0 ms if it was held since; -1, 0 when the record has
-- ended, or the call was returned to its queue or taken again; -2, 0 when the worker has to ask
-- about the fence first.
-- Redis may run a mark that its worker has given up after the call was returned to its queue: such a mark must not stay.
local c = redis.call('HMGET', KEYS[1], 'state', 'until', 'epoch', 'token')
local fence, run_id, last

-- made makes the mark of a call that must not be sent twice. r is its record's sent, mark and
-- no. It returns the mark's number; nil if the worker has to ask about the fence first.
local function made(record, r, attempt, name, life, seen)
  if not fence then
    fence, run_id = redis.pcall('HMGET', KEYS[2], 'life', 'run', 'open', 'n'), run()
    last = not fence.err and tonumber(fence[4])
  end
  if not last or last % 1 ~= 0 or last < tonumber(seen) or fence[1] ~= life or run_id ~= '' and run_id ~= fence[2] or fence[3] ~= '1' then
    return nil
  end
  if r[5] == attempt and r[6] == name and r[7] then
    return tonumber(r[7]) or 0 -- the same request again, as after a lost reply
  end
  last = redis.call('HINCRBY', KEYS[2], 'n', '1')
  redis.call('HSET', record, 'sent', attempt, 'mark', name, 'no', last)
  return last
end

-- mark returns the two numbers of a call.
local function mark(id, gen, attempt, token, epoch, starts, name, life, seen)
  local record = ARGV[2] .. id
  local r = redis.pcall('HMGET', record, 'state', 'gen', 'starts', 'settled', 'sent', 'mark', 'no')
  if r.err or r[1] ~= 'open' or r[2] ~= gen or (r[3] or '0') ~= starts or r[4] == starts then
    return -1, 0
  end
  -- Its worker was considered dead and the call returned to its queue; no worker has
  -- taken it yet.
  if redis.pcall('HGET', ARGV[1] .. id, 'state') ~= 'active' then
    return -1, 0
  end
  -- A Redis that has forgotten the last seconds delivers a call again under the same
  -- count of starts: only one of the two workers marks it.
  if r[5] and r[6] and r[6] ~= name then
    return -1, 0
  end
  local may
  if token == '' then
    may = c[1] ~= 'open' and tonumber(c[3] or 0) == tonumber(epoch)
  else
    may = c[4] == token or ARGV[3] ~= '1' -- copies have no token
  end
  if not may then
    local t = redis.call('TIME')
    return 0, math.max(tonumber(c[2] or 0) - (t[1] * 1000 + math.floor(t[2] / 1000)), 0)
  end
  if attempt == '' then
    return 1, 0
  end
  local n = made(record, r, attempt, name, life, seen)
  return n and 1 or -2, n or 0
end

local result = {}
for i = 4, #ARGV, 9 do
  result[#result + 1], result[#result + 2] = mark(unpack(ARGV, i, i + 8))
end
return result
