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

-- leave_group removes calls of one group from both lists, as far as they are there; group
-- is empty for calls without one. A group without members is removed. It needs no memory.
--
-- prefix   the ledger's key prefix of the queue
local function leave_group(dead, groups, prefix, group, ids)
  redis.call('ZREM', dead, unpack(ids))
  if group ~= '' then
    local members = prefix .. 'd:' .. group
    ensure_type('zset', members)
    redis.call('ZREM', members, unpack(ids))
    if redis.call('EXISTS', members) == 0 then
      redis.call('HDEL', groups, group)
    end
  end
end

-- by_group adds a call to the lists of ids by group, for leave_group. stored is the
-- group's name in the call's record; one that callq did not write counts as none.
local function by_group(lists, stored, id)
  local group = string.match(stored or '', '^%x%x%x%x%x%x%x%x$') or ''
  lists[group] = lists[group] or {}
  table.insert(lists[group], id)
end
