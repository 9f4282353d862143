-- dead is prepended to scripts that add dead letters to the lists or remove them;
-- counts.lua is prepended to it. A dead letter is on two lists, its queue's and its
-- group's, and the queue describes each group that has members.
--
-- dead     the queue's dead letters: id by microsecond
-- groups   the queue's groups: hash, group -> description
-- members  the dead letters of the group: id by microsecond
-- group    the group's name
local function enter_group(dead, groups, members, group, description, score, id)
  ensure_type('zset', members)
  redis.call('ZADD', dead, score, id)
  redis.call('ZADD', members, score, id)
  if redis.call('HSET', groups, group, description) == 1 then
    note(string.sub(dead, 1, -5), 'causes', score, group) -- dead ends with "dead"
  end
end

-- leave_group removes a call from both lists, if it is there; group is empty for a call
-- without one. A group without members is removed.
local function leave_group(dead, groups, members, group, id)
  redis.call('ZREM', dead, id)
  if group ~= '' then
    ensure_type('zset', members)
    redis.call('ZREM', members, id)
    if redis.call('EXISTS', members) == 0 then
      redis.call('HDEL', groups, group)
    end
  end
end
