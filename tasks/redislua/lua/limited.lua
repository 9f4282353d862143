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

-- write_limited writes what peek of limits.lua returns for a refused call.
local function write_limited(circuit, plan, now, wait, reason, key, text, turns)
  redis.call('HSET', circuit, 'limited', now + wait, 'limited_plan', plan,
    'limited_by', reason, 'limited_key', key, 'limited_text', text, 'limited_turn', turns and 1 or 0)
end

local function clear_limited(circuit)
  redis.call('HDEL', circuit, 'limited', 'limited_plan', 'limited_by', 'limited_key', 'limited_text', 'limited_turn')
end
