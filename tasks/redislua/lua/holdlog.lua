-- holdlog is prepended to scripts that end holds, see also limited.lua. The log of an
-- account's holds, and those of its endpoints, is a list beside its circuit record, the
-- latest first. It has the last 500 holds that are over, for 90 days after the last one;
-- a hold that goes on is in its circuit record.
--
-- log_hold adds a hold. Times are in ms; held is for how long calls were held meanwhile.
local function log_hold(account, hold)
  local key = account .. ':holds'
  for _, field in ipairs({'from', 'to', 'held'}) do
    hold[field] = string.format('%.0f', hold[field])
  end
  for _, field in ipairs({'message', 'note', 'text'}) do
    hold[field] = hold[field] and string.sub(hold[field], 1, 300)
  end
  local text = cjson.encode(hold)
  if type(redis.pcall('LPUSH', key, text)) == 'table' then
    redis.call('DEL', key) -- callq did not write it
    redis.call('LPUSH', key, text)
  end
  redis.call('LTRIM', key, 0, 499)
  redis.call('EXPIRE', key, 7776000)
end
