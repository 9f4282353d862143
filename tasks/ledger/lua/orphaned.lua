-- orphaned finds open calls whose task is gone, is on no list, or was put away behind
-- the ledger's back, so that no worker will ever make them; and it makes their tasks
-- again. In front of it stands states.lua.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2]   asynq's lease set
-- KEYS[3]   asynq's active list
-- KEYS[4]   asynq's scheduled set
-- KEYS[5]   asynq's retry set
-- KEYS[6..] asynq's sets of tasks that are put away
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   the record key prefix
-- ARGV[3]   leases that ended by then are over, Unix seconds
-- ARGV[4]   now in nanoseconds, as asynq writes it; empty: the tasks are not made again
-- ARGV[5..] for each call, no id twice: its id, the generation that is open, empty for
--           whichever is, and asynq's message; at most 1,000 calls
--
-- Returns for each 1 when it was orphaned, and its task is pending again where that is
-- asked for; 0 when the call has moved on or its task is where it should be.

-- counter tells how often an id stands on a list. Redis looks for one as long as for
-- all of some, so the list is walked once, when it is first asked about.
local function counter(list, ids)
  local found
  return function(id)
    if not found then
      local wanted, step = {}, 5000
      for _, one in ipairs(ids) do wanted[one] = true end
      found = {}
      for from = 0, redis.call('LLEN', list) - 1, step do
        for _, one in ipairs(redis.call('LRANGE', list, from, from + step - 1)) do
          if wanted[one] then
            found[one] = (found[one] or 0) + 1
          end
        end
      end
    end
    return found[id] or 0
  end
end
local ids = {}
for i = 5, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local pending, active = counter(KEYS[1], ids), counter(KEYS[3], ids)

-- orphaned reports whether a call is, and whether something else stands in place of
-- its task.
local function orphaned(id, generation)
  local r, state = redis.pcall('HMGET', ARGV[2] .. id, 'state', 'gen'), redis.pcall('HGET', ARGV[1] .. id, 'state')
  local lease, listed = redis.call('ZSCORE', KEYS[2], id), false
  if state == 'pending' then
    listed = pending(id) > 0
  elseif state == 'active' then
    listed = lease or active(id) > 0 -- the worker's recovery, and release
  elseif state == 'scheduled' then
    listed = redis.call('ZSCORE', KEYS[4], id)
  elseif state == 'retry' then
    listed = redis.call('ZSCORE', KEYS[5], id)
  end
  local leased = lease and tonumber(lease) > tonumber(ARGV[3])
  local open = not r.err and r[1] and not ended[r[1]] and (generation == '' or generation == r[2])
  return open and not listed and not leased, type(state) == 'table'
end

local result, orphans = {}, {}
for n, id in ipairs(ids) do
  local is, odd = orphaned(id, ARGV[3 + 3 * n])
  result[n] = is and 1 or 0
  if is then
    orphans[#orphans + 1] = {id = id, odd = odd, message = ARGV[4 + 3 * n]}
  end
end
if ARGV[4] == '' then
  return result
end
local pushed = {}
for _, call in ipairs(orphans) do
  -- An orphaned task can have left its id behind, and no call may stand in line twice.
  local left = pending(call.id)
  if left > 1 then
    redis.call('LREM', KEYS[1], 0, call.id)
  end
  if left ~= 1 then
    pushed[#pushed + 1] = call.id
  end
  if active(call.id) > 0 then
    redis.call('LREM', KEYS[3], 0, call.id)
  end
  redis.call('ZREM', KEYS[2], call.id)
  for k = 4, #KEYS do
    redis.call('ZREM', KEYS[k], call.id)
  end
  if call.odd then
    redis.call('DEL', ARGV[1] .. call.id)
  end
  redis.call('HSET', ARGV[1] .. call.id, 'msg', call.message, 'state', 'pending', 'pending_since', ARGV[4])
end
if #pushed > 0 then
  redis.call('LPUSH', KEYS[1], unpack(pushed))
end
return result
