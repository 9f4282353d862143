-- fence maintains the fences of queues. A Redis that was restored, or that failed over
-- to a replica, may have forgotten that calls were sent. So the marks of sends are
-- counted, and Redis's process is noted: a new process begins a new life, at the count
-- that it has. For a while no mark is made then, so that workers can give back the
-- marks that Redis has forgotten. counts.lua and life.lua are prepended to it.
--
-- KEYS      the fences of queues:
--           life   the name of the present life
--           run    the name of the Redis process of this life
--           n      how many marks were made
--           base   how many of them this life began with
--           top    the highest count that any worker has seen
--           since  when this life began, in ms
--           shut   since when no mark is made, in ms
--           open   1 if marks may be made
--           g:NAME how many of the marks above base the worker NAME has given back
--           who    the person who has accepted the last loss, and when (at, in ms)
-- ARGV[1]   for how many ms workers give back
-- ARGV[2]   the person who accepts that marks may be lost, or empty
-- ARGV[3..] for each queue the highest count that the caller has seen
--
-- Returns for each queue {life, n, base, top, how many were given back, since, shut,
-- for how many ms workers still give back; 0: marks may be made; -1: marks are missing,
-- and none is made until they are given back or a person accepts the loss}.
-- Running it twice, as after a lost reply, changes nothing.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local id = run()
local function whole(n) return string.format('%.0f', n) end

local result = {}
for i, key in ipairs(KEYS) do
  ensure_type('hash', key)
  local f = {}
  local all = redis.call('HGETALL', key)
  for j = 1, #all, 2 do f[all[j]] = all[j + 1] end
  local n, base, top, seen = number(f.n), number(f.base), number(f.top), number(ARGV[2 + i])
  local life, open, since, shut = f.life, f.open == '1', math.min(number(f.since), now), number(f.shut)
  local function forget()
    for field in pairs(f) do
      if string.sub(field, 1, 2) == 'g:' then
        redis.call('HDEL', key, field)
        f[field] = nil
      end
    end
  end
  if not life and n == 0 and seen == 0 then
    -- No mark was ever made here.
    life, open, since = begin_fence(key, id, t), true, now
  elseif not life or id ~= '' and id ~= f.run or open and seen > n then
    if open or not life then
      base, top, shut = n, n, now
    end
    -- Marks that were missing before are still missing.
    life, open, since, base, top = life_name(id, t), false, now, math.min(base, n), math.max(top, n, seen)
    forget()
    redis.call('HDEL', key, 'open')
    redis.call('HSET', key, 'life', life, 'run', id ~= '' and id or f.run or '', 'n', whole(n), 'base', whole(base),
      'top', whole(top), 'since', whole(since), 'shut', whole(shut))
  elseif not open and seen > top then
    top = seen
    redis.call('HSET', key, 'top', whole(top))
  end
  local given, wait = 0, 0
  if not open then
    for field, count in pairs(f) do
      if string.sub(field, 1, 2) == 'g:' then given = given + number(count) end
    end
    wait = since + ARGV[1] - now
    if wait <= 0 and (base + given >= top or ARGV[2] ~= '') then
      -- No number is used twice, so that a lost number identifies its worker.
      n, wait, open = math.max(n, top), 0, true
      forget()
      redis.call('HDEL', key, 'shut')
      redis.call('HSET', key, 'open', 1, 'n', whole(n))
      if ARGV[2] ~= '' then
        redis.call('HSET', key, 'who', ARGV[2], 'at', whole(now))
      end
    elseif wait <= 0 then
      wait = -1
    end
  end
  result[i] = {life, whole(n), whole(base), whole(top), given, whole(since), whole(shut), wait}
end
return result
