-- restore makes the tasks of calls that are lost again. In front of it stands
-- strays.lua.
--
-- ARGV[4]   now in nanoseconds, as asynq writes it
-- ARGV[5..] for each call, no id twice: its id, the generation that is open, and
--           asynq's message; at most 1,000 calls
--
-- Returns for each 1 when its task is pending again, 0 when the call has moved on or
-- its task is where it should be.
local ids, result, pushed = {}, {}, {}
for i = 5, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local pending, active = counter(KEYS[1], ids), counter(KEYS[3], ids)
local lost = strays(ids, pending, active)
for n, id in ipairs(ids) do
  local call, task = lost[id], ARGV[1] .. id
  if not call or call.gen ~= ARGV[3 + 3 * n] then
    result[n] = 0
  else
    result[n] = 1
    -- A lost task can have left its id behind, and no call may stand in line twice.
    local left = pending(id)
    if left > 1 then
      redis.call('LREM', KEYS[1], 0, id)
    end
    if left ~= 1 then
      pushed[#pushed + 1] = id
    end
    if active(id) > 0 then
      redis.call('LREM', KEYS[3], 0, id)
    end
    redis.call('ZREM', KEYS[2], id)
    for k = 4, #KEYS do
      redis.call('ZREM', KEYS[k], id)
    end
    if call.odd then
      redis.call('DEL', task)
    end
    redis.call('HSET', task, 'msg', ARGV[4 + 3 * n], 'state', 'pending', 'pending_since', ARGV[4])
  end
end
if #pushed > 0 then
  redis.call('LPUSH', KEYS[1], unpack(pushed))
end
return result
