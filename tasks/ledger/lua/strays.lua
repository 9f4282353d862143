-- strays stands in front of scripts that look for lost calls: open ones whose task
-- is gone, is on no list, or was put away behind the ledger's back. Both take
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
local ended = {done = true, dropped = true, dead = true, cancelled = true}

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

-- strays tells which of the calls are lost, with their generation and whether
-- something else stands in place of the task; pending and active are counters.
local function strays(ids, pending, active)
  local lost = {}
  for _, id in ipairs(ids) do
    local r, state = redis.pcall('HMGET', ARGV[2] .. id, 'state', 'gen'), redis.pcall('HGET', ARGV[1] .. id, 'state')
    local lease, stands = redis.call('ZSCORE', KEYS[2], id), false
    if state == 'pending' then
      stands = pending(id) > 0
    elseif state == 'active' then
      stands = lease or active(id) > 0 -- the worker's recovery, and release
    elseif state == 'scheduled' then
      stands = redis.call('ZSCORE', KEYS[4], id)
    elseif state == 'retry' then
      stands = redis.call('ZSCORE', KEYS[5], id)
    end
    local made = lease and tonumber(lease) > tonumber(ARGV[3])
    if not r.err and r[1] and not ended[r[1]] and not stands and not made then
      lost[id] = {gen = r[2], odd = type(state) == 'table'}
    end
  end
  return lost
end
