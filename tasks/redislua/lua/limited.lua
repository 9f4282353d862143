-- limited is prepended to scripts that note in an account's circuit record that a limit
-- or a budget allows no call, or that remove that note. The record of an account that
-- may call has no such note:
--
--   limited       until when no call is allowed, in ms
--   limited_plan  the name of the limits for which this holds; other limits ignore it
--   limited_by    limit or budget
--   limited_key   the key of the rule
--   limited_text  the rule as it was written
--   limited_turn  1 if the rule counts by windows and the next one begins then
--
-- For the log of holds the record also has the present hold by a limit, or the last one;
-- holdlog.lua is prepended to this. Holds of one rule that follow each other within two
-- seconds are one hold:
--
--   lim_key       the key of the rule
--   lim_text      the rule as it was written
--   lim_by        limit or budget
--   lim_from      when it began, in ms
--   lim_to        when it ends
--   lim_held      for how many ms calls were held meanwhile

local function end_limited(circuit, now)
  local l = redis.call('HMGET', circuit, 'lim_key', 'lim_from', 'lim_to', 'lim_held', 'lim_by', 'lim_text')
  local from, to, held = tonumber(l[2]), tonumber(l[3]), tonumber(l[4])
  if not (l[1] and from and to and held) then
    return
  end
  redis.call('HDEL', circuit, 'lim_key', 'lim_from', 'lim_to', 'lim_held', 'lim_by', 'lim_text')
  local early = math.max(to - now, 0) -- another rule holds the account now
  log_hold(circuit, {circuit = circuit, from = from, to = to - early, held = math.max(held - early, 0), reason = l[5] or '', text = l[6] or ''})
end

local function note_limited(circuit, now, wait, reason, key, text)
  local l = redis.call('HMGET', circuit, 'lim_key', 'lim_to', 'lim_held')
  local before, held = tonumber(l[2]), tonumber(l[3])
  if l[1] == key and before and held and now <= before + 2000 then
    local to = math.max(now + wait, before)
    redis.call('HSET', circuit, 'lim_to', to, 'lim_held', held + to - math.max(now, before))
    return
  end
  end_limited(circuit, now)
  redis.call('HSET', circuit, 'lim_key', key, 'lim_text', text, 'lim_by', reason, 'lim_from', now, 'lim_to', now + wait, 'lim_held', wait)
end

-- write_limited writes what peek of limits.lua returns for a refused call. A rate that
-- allows its next call within a second is no hold.
local function write_limited(circuit, plan, now, wait, reason, key, text, turns)
  redis.call('HSET', circuit, 'limited', now + wait, 'limited_plan', plan,
    'limited_by', reason, 'limited_key', key, 'limited_text', text, 'limited_turn', turns and 1 or 0)
  if turns or wait >= 1000 then
    note_limited(circuit, now, wait, reason, key, text)
  end
end

-- clear_limited removes the note. now, in ms, is given where the limit's time may not be
-- over.
local function clear_limited(circuit, now)
  redis.call('HDEL', circuit, 'limited', 'limited_plan', 'limited_by', 'limited_key', 'limited_text', 'limited_turn')
  local l = now and redis.call('HMGET', circuit, 'lim_to', 'lim_held') or {}
  local to, held = tonumber(l[1]), tonumber(l[2])
  if to and held and to > now then
    redis.call('HSET', circuit, 'lim_to', now, 'lim_held', math.max(held - (to - now), 0))
  end
end
