-- orphaned finds open calls whose task is gone, is on no list, or was put away without
-- the ledger, so that no worker will ever make them; and it creates their tasks again.
-- states.lua is prepended to it.
--
-- KEYS[1]   asynq's pending list
-- KEYS[2]   asynq's lease set
-- KEYS[3]   asynq's active list
-- KEYS[4]   asynq's scheduled set
-- KEYS[5]   asynq's retry set
-- KEYS[6..] asynq's sets of archived and completed tasks
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   the record key prefix
-- ARGV[3]   leases that end no later than this are over, Unix seconds
-- ARGV[4]   now in nanoseconds, as asynq writes it; empty: the tasks are not created
--           again
-- ARGV[5..] for each call, each id once: its id, the generation that is open (empty for
--           any), and asynq's message; at most 1,000 calls
--
-- Returns for each call 1 when it was orphaned, and its task is pending again if that
-- is asked for; 0 when the call has moved on or its task is where it should be.

-- counter returns a function that counts how often an id is on a list. Finding one id
-- takes Redis as long as finding all of them, so the list is read once, at the first
-- use.
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

-- orphaned reports whether a call is orphaned, and whether its task's key holds another
-- type.
local function orphaned(id, generation)
  local r, state = redis.pcall('HMGET', ARGV[2] .. id, 'state', 'gen'), redis.pcall('HGET', ARGV[1] .. id, 'state')
  local lease, listed = redis.call('ZSCORE', KEYS[2], id), false
  if state == 'pending' then
    listed = pending(id) > 0
  elseif state == 'active' then
    listed = lease or active(id) > 0 -- the worker's recovery and release return it
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
  local is, wrong_type = orphaned(id, ARGV[3 + 3 * n])
  result[n] = is and 1 or 0
  if is then
    orphans[#orphans + 1] = {id = id, wrong_type = wrong_type, message = ARGV[4 + 3 * n]}
  end
end
if ARGV[4] == '' then
  return result
end
local pushed = {}
for _, call in ipairs(orphans) do
  -- An orphaned call can have left its id on the list, and no call may be on it twice.
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
  if call.wrong_type then
    redis.call('DEL', ARGV[1] .. call.id)
  end
  redis.call('HSET', ARGV[1] .. call.id, 'msg', call.message, 'state', 'pending', 'pending_since', ARGV[4])
end
if #pushed > 0 then
  redis.call('LPUSH', KEYS[1], unpack(pushed))
end
return result
