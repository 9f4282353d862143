-- archive is prepended to scripts that keep asynq's archive small.
--
-- trim removes tasks from the archive that asynq itself would trim: those that died
-- before a time, in Unix seconds, and the oldest beyond a number. asynq removes all of
-- them at once, with a Lua unpack that fails for ever once there are some thousands;
-- trim removes at most a thousand. It returns how many it removed: run it again until
-- it returns 0.
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

-- make_room prepares the archive for more tasks, so that asynq never has anything to
-- trim, which can fail.
local function make_room(archive, task_prefix, before, keep)
  repeat until trim(archive, task_prefix, before, keep) == 0
end
