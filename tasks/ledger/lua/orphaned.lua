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

-- on returns how often an id is on a list: 0, 1, or 2 for more. It searches the list for each
-- id, so the caller asks for the fewer the longer the list is.
local function on(list, id)
  return #redis.call('LPOS', list, id, 'COUNT', '2')
end
local ids = {}
for i = 5, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end

-- orphaned reports whether a call is orphaned, whether its task's key holds another type,
-- and how often its id is on the pending list, if it has searched that.
local function orphaned(id, generation)
  local r, state = redis.pcall('HMGET', ARGV[2] .. id, 'state', 'gen'), redis.pcall('HGET', ARGV[1] .. id, 'state')
  local lease, listed = redis.call('ZSCORE', KEYS[2], id), false
  local left
  if state == 'pending' then
    left = on(KEYS[1], id)
    listed = left > 0
  elseif state == 'active' then
    listed = lease or on(KEYS[3], id) > 0 -- the worker's recovery and release return it
  elseif state == 'scheduled' then
    listed = redis.call('ZSCORE', KEYS[4], id)
  elseif state == 'retry' then
    listed = redis.call('ZSCORE', KEYS[5], id)
  end
  local leased = lease and tonumber(lease) > tonumber(ARGV[3])
  local open = not r.err and r[1] and not ended[r[1]] and (generation == '' or generation == r[2])
  return open and not listed and not leased, type(state) == 'table', left
end

local result, orphans = {}, {}
for n, id in ipairs(ids) do
  local is, wrong_type, left = orphaned(id, ARGV[3 + 3 * n])
  result[n] = is and 1 or 0
  if is then
    orphans[#orphans + 1] = {id = id, wrong_type = wrong_type, left = left, message = ARGV[4 + 3 * n]}
  end
end
if ARGV[4] == '' then
  return result
end
local pushed = {}
for _, call in ipairs(orphans) do
  -- An orphaned call can have left its id on the list, and no call may be on it twice.
  local left = call.left or on(KEYS[1], call.id)
  if left > 1 then
    redis.call('LREM', KEYS[1], 0, call.id)
  end
  if left ~= 1 then
    pushed[#pushed + 1] = call.id
  end
  if on(KEYS[3], call.id) > 0 then
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
