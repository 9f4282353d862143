-- pace keeps to what the API's own answers say of a limit: how many calls it still takes
-- (remaining), and when the limit starts afresh (reset).
--
-- Calls that are inflight at once can arrive in another order than that of their slots,
-- and answers in any order. So what is left is never guessed from one answer alone. Every
-- slot counts as one call, which the reading may not have counted, until the answer of
-- that call was reported, or until a request that was sent a second later was answered.
--
-- The state of a pace rule, in the hash of the account's limits; times are Redis's, in
-- microseconds:
--   n:KEY       what is left, by the reading in force; absent until there is one
--   s:KEY       the slot of the call whose answer that reading is
--   seen:KEY    when that answer arrived
--   reset:KEY   when the limit starts afresh
--   top:KEY     how much a new window has, by the windows before
--   from:KEY    what was left at the first reading of this window
--   since:KEY   when that answer arrived
--   own:KEY     how many calls of the fleet may have been counted since
--   others:KEY  how much else was used in the window before, for each call of the fleet;
--               others_rate:KEY for each microsecond
--   silent:KEY  1 if there were answers that said nothing, and no reading
--
-- Two requests that are sent further apart than this arrive in the order of their slots.
local reordered = 1000000
-- Where it is not known what is left, as after a reset, which can be given in whole seconds,
-- only pace_first calls start within that time after the first one, until an answer says.
local pace_opening, pace_first = 1000000, 2
-- For this long after an answer what it said was left is left after the reset too.
local pace_recent = 10000000
-- The slot of a call whose answer is not reported, as after a worker was killed, counts
-- for this long at most.
local pace_forgotten = 60000000
-- For how many milliseconds there is no slot while the answers of inflight calls decide.
local pace_recheck = 50

local function pace_field(s, name, r)
  local text = s[name .. ':' .. r.key]
  return text and tonumber(text)
end

-- pace_sent counts the slots after a time whose answers were not reported.
local function pace_sent(sent, after)
  return redis.call('ZCOUNT', sent, string.format('(%.0f', after), '+inf')
end

-- pace_opens reports whether only pace_first calls may start: the first call after a time has
-- just been sent.
local function pace_opens(sent, after, slot)
  local first = redis.call('ZRANGEBYSCORE', sent, string.format('(%.0f', after), '+inf', 'LIMIT', 0, 1)[1]
  return not first or slot - tonumber(first) < pace_opening
end

-- pace_extra returns how much of the present window was used by others, or by what calls
-- cost above 1: for each call of the fleet, and for each microsecond. It returns nil after
-- too few calls.
local function pace_extra(s, r)
  local own, from, left = pace_field(s, 'own', r) or 0, pace_field(s, 'from', r), pace_field(s, 'n', r)
  local since, seen = pace_field(s, 'since', r), pace_field(s, 'seen', r)
  if own >= 8 and from and left and since and seen and seen > since then
    local extra = math.max(from - left - own, 0)
    return extra / own, extra / (seen - since)
  end
end

-- pace_margin returns how much may be used by others, by what is known of this window and
-- the one before, until calls that are inflight, and one that starts now, arrive.
local function pace_margin(s, r, now, inflight)
  local per_call, per_micro = pace_extra(s, r)
  per_call = math.max(per_call or 0, pace_field(s, 'others', r) or 0)
  per_micro = math.max(per_micro or 0, pace_field(s, 'others_rate', r) or 0)
  local sent = pace_field(s, 's', r)
  local age = math.max(now - sent, 0) + math.max((pace_field(s, 'seen', r) or sent) - sent, 0)
  return 2 * math.max(per_call * inflight, per_micro * age)
end

-- pace_wait returns nil if a call may start at a slot; or for how many milliseconds it must
-- not, and whether that is because the limit is used up.
local function pace_wait(s, sent, r, now, slot)
  local left, at, reset = pace_field(s, 'n', r), pace_field(s, 's', r), pace_field(s, 'reset', r)
  if not (left and at and reset) then
    if s['silent:' .. r.key] or pace_sent(sent, slot - pace_opening) < pace_first then
      return nil
    end
    return pace_recheck
  end
  local inflight = pace_sent(sent, at - reordered)
  local spare = left - inflight - r.keep
  -- Others use some of what is left while calls are on their way. Near the end only a few
  -- calls at once can be refused.
  local known = reset > slot or slot - (pace_field(s, 'seen', r) or 0) < pace_recent
  if known and spare > 0 and (inflight < pace_first or spare > pace_margin(s, r, now, inflight)) then
    return nil
  end
  if reset > slot then
    if left > r.keep then
      return pace_recheck
    end
    return math.ceil((reset - slot) / 1000), true
  end
  -- The window is new; what it has is not known yet.
  local may = math.max((pace_field(s, 'top', r) or 0) - r.keep, 1)
  if pace_opens(sent, reset, slot) then
    may = math.min(may, pace_first)
  end
  -- Calls that were sent shortly before the reset may have arrived after it.
  if pace_sent(sent, reset - reordered) < may then
    return nil
  end
  return pace_recheck
end

-- pace_window returns the fields that begin to count a new window, or a limit that has more
-- left than before.
local function pace_window(s, sent, r, slot, seen, left, turned)
  local top, others, rate = pace_field(s, 'top', r) or 0, nil, nil
  if turned then
    others, rate = pace_extra(s, r)
  end
  others, rate = others or pace_field(s, 'others', r) or 0, rate or pace_field(s, 'others_rate', r) or 0
  if turned and left > 0 and left < top then
    top = math.ceil((left + top) / 2) -- the limit was lowered, or others were first
  end
  return {'top:' .. r.key, math.max(top, left), 'from:' .. r.key, left, 'own:' .. r.key, pace_sent(sent, slot - reordered),
    'since:' .. r.key, string.format('%.0f', seen), 'others:' .. r.key, string.format('%.3f', others),
    'others_rate:' .. r.key, string.format('%.9f', rate)}
end

-- pace_read takes a reading: what is left, and the reset, by the answer that arrived at a
-- time to the request that was sent at a slot.
local function pace_read(s, put, sent, r, now, slot, seen, left, reset)
  if left <= r.keep and reset <= seen then
    reset = seen + pace_opening -- nothing is left, until a time that was rounded down
  end
  local function use(at, arrived)
    put('n:' .. r.key, left, 's:' .. r.key, string.format('%.0f', at), 'seen:' .. r.key, string.format('%.0f', arrived),
      'reset:' .. r.key, string.format('%.0f', reset))
  end
  local last, at = pace_field(s, 'n', r), pace_field(s, 's', r)
  local over, before = pace_field(s, 'reset', r), pace_field(s, 'seen', r)
  if not (last and at and over and before) then
    put(unpack(pace_window(s, sent, r, slot, seen, left, false)))
    return use(slot, seen)
  end
  local turned = slot >= over or now >= over
  if slot < at - reordered or reset <= now and turned and slot < at then
    return
  end
  if turned or slot > before or slot > at + reordered then
    if turned or left > (pace_field(s, 'from', r) or 0) then
      put(unpack(pace_window(s, sent, r, slot, seen, left, turned)))
    end
    use(slot, seen)
  elseif left < last and reset > now then
    -- It is not known which of the two requests arrived first. What is left only falls in a
    -- window, so the lower number is the later one.
    use(math.max(at, slot), math.max(before, seen))
  end
end

-- pace_silent counts a call whose answer says nothing of the limit.
local function pace_silent(s, put, r, now, slot)
  local left, at, reset = pace_field(s, 'n', r), pace_field(s, 's', r), pace_field(s, 'reset', r)
  if not (left and at and reset) then
    put('silent:' .. r.key, 1)
  elseif slot > at - reordered and now < reset then
    put('n:' .. r.key, math.max(left - 1, 0))
  end
end
