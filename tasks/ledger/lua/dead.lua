-- dead stands in front of scripts that list dead letters, or take them off the lists;
-- in front of it stands counts.lua. A dead letter stands on two lists, its queue's and
-- its group's, and the queue describes each group that has members.
--
-- dead     the queue's dead letters: id by microsecond
-- groups   the queue's groups: hash, group -> description
-- members  the dead letters of the group: id by microsecond
-- group    the group's name
local function enter_group(dead, groups, members, group, description, score, id)
  ensure_type('zset', members)
  redis.call('ZADD', dead, score, id)
  redis.call('ZADD', members, score, id)
  redis.call('HSET', groups, group, description)
end

-- leave_group takes a call off both lists, if it stands there; group is empty for one
-- that has none. A group without members goes.
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
