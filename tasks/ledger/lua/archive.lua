-- archive stands in front of scripts that keep asynq's archive small.
--
-- trim takes tasks off the archive that asynq itself would trim: those that died
-- before a time, Unix seconds, and the oldest beyond so many. asynq takes all at
-- once, with a Lua unpack that fails on some thousands, for ever; this takes a
-- thousand at most. It returns how many: run it again until that is none.
local function trim(archive, task_prefix, before, keep)
  local ids = redis.call('ZRANGEBYSCORE', archive, '-inf', before, 'LIMIT', 0, 1000)
  if #ids == 0 then
    local over = redis.call('ZCARD', archive) - keep
    if over > 0 then
      ids = redis.call('ZRANGE', archive, 0, math.min(over, 1000) - 1)
    end
  end
  if #ids > 0 then
    redis.call('ZREM', archive, unpack(ids))
    for _, id in ipairs(ids) do
      redis.call('DEL', task_prefix .. id)
    end
  end
  return #ids
end

-- make_room makes the archive ready for more tasks: asynq, which can fail at it, never
-- has anything to trim then.
local function make_room(archive, task_prefix, before, keep)
  repeat until trim(archive, task_prefix, before, keep) == 0
end
