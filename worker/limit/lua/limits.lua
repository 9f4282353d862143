-- limits decides by an account's limits and budgets whether a call may be dequeued. A
-- script of another package begins with this file and calls it:
--
--   local l = limits(state, slots, sent, at)  nil: the account has none
--   l.peek(now)          now in microseconds: returns the next free slot, in
--                        microseconds; or nil, for how many milliseconds there is none,
--                        the reason (limit, budget), the key and the text of the rule
--                        that refuses, and whether that rule is a window
--   l.take(now, slot)    takes that slot; returns the money that was reserved
--   l.give_back(now, slot, money)  returns it, for a call that was not sent
--   l.reconcile(now, slot, reserved, billed)  puts what was billed in place of
--                        what was reserved
--   l.write()            writes what these have changed: the script calls it at its end
--   l.answered(now, slot, seen, readings)  counts the answer to the call of a slot: when
--                        it arrived, and what it says of the limit of each pace rule, in
--                        their order: {left, when the limit starts afresh}, or false
--
-- state   hash: for a paced rate t:KEY, when its next slot is due (GCRA, as in
--         ITU-T I.371); for a counted window s:KEY, its start in ms, and n:KEY,
--         what is used of it; amount, the most that a call was billed, and
--         amount_at, its slot
-- slots   zset of the slots that were returned before their time; it also has the slots
--         that were returned or reconciled lately, so that a repetition does not count
-- sent    zset of the slots whose calls' answers were not reported yet; only with a pace rule
-- at      where in ARGV the rules begin: their name, their number, and for each of them
--         nine values: kind, key, text, and six numbers
--           rate      microseconds between slots, how many at once
--           adaptive  calls a second to begin with
--           window    how many, 1, and the starts of four windows in ms: the
--                     one before the present, the present, and the next two
--           calls     the same, for a budget of calls
--           money     the same, in millionths; in place of 1 the price of a call
--           pace      how many calls are left to others; see pace.lua
-- Slots are reserved up to half a second ahead: enough that none is left unused, and so
-- little that an urgent call is made within a second.
local ahead = 500000
-- How long it is remembered that a slot was returned or reconciled, in microseconds.
local remembered = 60000000

local function limits(state, slots, sent, at)
  local n = tonumber(ARGV[at + 1])
  if n == 0 then
    return nil
  end
  local s = {}
  local flat = redis.call('HGETALL', state)
  for i = 1, #flat, 2 do s[flat[i]] = flat[i + 1] end
  -- put changes fields in s, and put_number a number, which has a format. l.write writes them
  -- to the state: a script that takes several slots writes once.
  local changed = {}
  local function put(...)
    local fields = {...}
    for i = 1, #fields, 2 do s[fields[i]], changed[fields[i]] = fields[i + 1], '' end
  end
  local function put_number(field, number, format)
    s[field], changed[field] = number, format
  end
  local rules, paces, paced, moves = {}, {}, false, false
  for i = 1, n do
    local p = at + 2 + 9 * (i - 1)
    local r = {kind = ARGV[p], key = ARGV[p + 1], text = ARGV[p + 2]}
    for j = 1, 6 do r[j] = tonumber(ARGV[p + 2 + j]) end
    if r.kind == 'adaptive' then
      r[1], r[2], r.first = 1000000 / adaptive_rate(s, r[1]), 1, r[1]
      moves = true
    end
    if r.kind == 'adaptive' or r.kind == 'rate' then
      r.paced, paced = true, true
    end
    if r.kind == 'pace' then
      r.keep = r[1]
      paces[#paces + 1] = r
    else
      rules[#rules + 1] = r
    end
  end

  -- window returns the start and the end of the window that a slot falls into,
  -- and what is used of it.
  local function window(r, slot)
    local ms, i = slot / 1000, 3
    while i < 5 and ms >= r[i + 1] do i = i + 1 end
    local used = 0
    if tonumber(s['s:' .. r.key] or 0) == r[i] then
      used = tonumber(s['n:' .. r.key])
    end
    return r[i], r[i + 1], used
  end
  -- counted reports whether a slot is in the window that the state counts.
  local function counted(r, slot)
    return slot / 1000 >= r[3] and tonumber(s['s:' .. r.key] or 0) == window(r, slot)
  end
  -- highest_bill returns the highest cost of a call so far: the next call may cost as much.
  -- If that is more than a whole budget, it counts only until the budget's window ends: to
  -- reserve as much again would refuse all calls for ever. Then it returns 0 and the bill.
  local function highest_bill(slot)
    local amount = tonumber(s.amount or 0)
    for _, r in ipairs(rules) do
      if r.kind == 'money' and amount > r[1] and tonumber(s.amount_at or 0) / 1000 < window(r, slot) then
        return 0, amount
      end
    end
    return amount
  end
  local function price(r, amount)
    if r.kind == 'money' then
      return math.max(r[2], amount)
    end
    return r[2]
  end
  -- Slots are taken within microseconds: when none was returned, none is looked for again.
  local none_returned = not paced or moves -- after a cut, slots of the former rate are not used
  local function returned_slot(now)
    if none_returned then
      return nil
    end
    local first = redis.call('ZRANGEBYSCORE', slots, string.format('%.0f', now), string.format('%.0f', now + ahead), 'LIMIT', '0', '1')[1]
    none_returned = not first
    return first
  end
  local function use(r, start, used)
    put_number('s:' .. r.key, start, '%.0f')
    put_number('n:' .. r.key, math.max(used, 0), '%.0f')
  end

  -- first_time reports whether a slot is returned or reconciled for the first time. It
  -- returns false for a repetition, as after a lost reply.
  local function first_time(now, slot, score)
    -- This write comes first because it needs no memory: a script that has written once
    -- may continue when Redis is full.
    redis.call('ZREMRANGEBYSCORE', slots, '-inf', string.format('(%.0f', now - remembered))
    local added = redis.call('ZADD', slots, 'NX', string.format('%.0f', score), string.format('%.0f', slot)) == 1
    redis.call('PEXPIRE', slots, remembered / 1000)
    return added
  end

  local l = {}
  function l.write()
    local fields = {}
    for field, format in pairs(changed) do
      fields[#fields + 1], fields[#fields + 2] = field, format == '' and s[field] or string.format(format, s[field])
    end
    changed = {}
    if #fields > 0 then
      redis.call('HSET', state, unpack(fields))
    end
  end
  function l.peek(now)
    local free, slot, by = returned_slot(now), now, nil
    if free then
      -- A different microsecond: see l.take.
      slot = tonumber(free) + 1
    else
      for _, r in ipairs(rules) do
        if r.paced then
          local due = tonumber(s['t:' .. r.key] or 0) - (r[2] - 1) * r[1]
          if due > slot then slot, by = due, r end
        end
      end
    end
    if slot - now > ahead then
      return nil, math.ceil((slot - now - ahead) / 1000), 'limit', by.key, by.text
    end
    local wait, full, amount = 0, nil, highest_bill(slot)
    for _, r in ipairs(rules) do
      if not r.paced then
        local _, stop, used = window(r, slot)
        if used + price(r, amount) > r[1] and stop - now / 1000 > wait then
          wait, full = stop - now / 1000, r
        end
      end
    end
    if full then
      return nil, math.ceil(wait), (full.kind == 'window' and 'limit' or 'budget'), full.key, full.text, true
    end
    local turns
    wait = 0
    for _, r in ipairs(paces) do
      local ms, used_up = pace_wait(s, sent, r, now, slot)
      if ms and ms > wait then
        wait, turns, by = ms, used_up, r
      end
    end
    if wait > 0 then
      return nil, wait, 'limit', by.key, by.text, turns
    end
    return slot
  end
  function l.take(now, slot)
    local free = returned_slot(now)
    if free then
      -- The slot stays in the list, with a time in the past. So a repeated give_back, as
      -- after a lost reply, cannot free it for another call.
      redis.call('ZADD', slots, 'XX', string.format('%.0f', free - ahead - 1), free)
    end
    local money, amount, former = 0, highest_bill(slot)
    if former then
      put('amount', '0')
    end
    for _, r in ipairs(rules) do
      if not r.paced then
        local start, _, used = window(r, slot)
        use(r, start, used + price(r, amount))
        if r.kind == 'money' then money = price(r, amount) end
      elseif not free then
        put_number('t:' .. r.key, math.max(tonumber(s['t:' .. r.key] or 0), slot) + r[1], '%.3f')
        if r.first then
          put(unpack(adaptive_used(s, now, slot)))
        end
      end
    end
    if #paces > 0 then
      redis.call('ZREMRANGEBYSCORE', sent, '-inf', string.format('(%.0f', now - pace_forgotten))
      redis.call('ZADD', sent, string.format('%.0f', slot), string.format('%.0f', slot))
      redis.call('PEXPIRE', sent, 2 * pace_forgotten / 1000)
      for _, r in ipairs(paces) do
        put('own:' .. r.key, (pace_field(s, 'own', r) or 0) + 1)
      end
    end
    return money
  end
  function l.give_back(now, slot, money)
    if not first_time(now, slot, slot) then
      return
    end
    for _, r in ipairs(rules) do
      if not r.paced and counted(r, slot) then
        local start, _, used = window(r, slot)
        local less = r[2]
        if r.kind == 'money' then less = money end
        use(r, start, used - less)
      end
    end
    if #paces > 0 and redis.call('ZREM', sent, string.format('%.0f', slot)) == 1 then
      for _, r in ipairs(paces) do
        put('own:' .. r.key, math.max((pace_field(s, 'own', r) or 0) - 1, 0))
      end
    end
  end
  function l.reconcile(now, slot, reserved, billed)
    -- The slot was used: its score is so old that returned_slot does not find it.
    if not first_time(now, slot, slot - ahead) then
      return
    end
    for _, r in ipairs(rules) do
      if r.kind == 'money' and counted(r, slot) then
        local start, _, used = window(r, slot)
        use(r, start, used - reserved + billed)
      end
    end
    if billed > tonumber(s.amount or 0) then
      put('amount', string.format('%.0f', billed), 'amount_at', string.format('%.0f', slot))
    end
  end
  function l.answered(now, slot, seen, readings)
    -- A report can be repeated, as after a lost reply.
    local first = redis.call('ZREM', sent, string.format('%.0f', slot)) == 1
    for i, r in ipairs(paces) do
      if readings[i] then
        pace_read(s, put, sent, r, now, slot, seen, unpack(readings[i]))
      elseif first then
        pace_silent(s, put, r, now, slot)
      end
    end
  end
  return l
end
