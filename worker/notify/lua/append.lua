-- append adds events to the outboxes of the receivers that want them, each once.
--
-- KEYS[1]   the receivers: hash, name -> when it was configured last in Unix milliseconds,
--           and the types of events that it wants, separated by spaces
-- KEYS[2]   what was told: name of the news by the millisecond until which it is not told again
-- KEYS[3]   the open circuits that were told: hash, circuit -> since when it is open
-- KEYS[4]   how many events each receiver has lost: hash
-- ARGV[1]   the prefix of the outboxes' keys; an outbox is a list
-- ARGV[2]   now, in Unix milliseconds
-- ARGV[3]   receivers that were configured last before this are forgotten
-- ARGV[4]   how many events an outbox has at most
-- ARGV[5..] for each event: the name of the news, for how many milliseconds it is not told
--           again, its type, its message, and a circuit, or empty, with since when it is open;
--           or 0 if it has closed
--
-- Returns pairs: the receivers whose outbox was full, and how many events each lost.
local now, most, receivers = tonumber(ARGV[2]), tonumber(ARGV[4]), {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local at = tonumber(string.match(flat[i + 1], '^%d+')) or 0
  if at < tonumber(ARGV[3]) then
    redis.call('DEL', ARGV[1] .. flat[i])
    redis.call('HDEL', KEYS[1], flat[i])
    redis.call('HDEL', KEYS[4], flat[i])
  else
    receivers[flat[i]] = flat[i + 1] .. ' '
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2])
local lost = {}
for i = 5, #ARGV, 6 do
  local news, kind, message, circuit = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if not redis.call('ZSCORE', KEYS[2], news) then
    for name, wants in pairs(receivers) do
      if string.find(wants, ' ' .. kind .. ' ', 1, true) then
        local n = redis.call('RPUSH', ARGV[1] .. name, message)
        if n > most then
          redis.call('LTRIM', ARGV[1] .. name, string.format('%d', -most), -1)
          lost[name] = (lost[name] or 0) + n - most
        end
      end
    end
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[i + 1])), news)
  end
  if circuit ~= '' then
    if ARGV[i + 5] == '0' then
      redis.call('HDEL', KEYS[3], circuit)
    else
      redis.call('HSET', KEYS[3], circuit, ARGV[i + 5])
    end
  end
end
local result = {}
for name, n in pairs(lost) do
  redis.call('HINCRBY', KEYS[4], name, n)
  result[#result + 1], result[#result + 2] = name, n
end
return result
