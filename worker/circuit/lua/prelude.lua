-- What all circuit scripts share: the record, Redis's clock, and the two ways to
-- change the state. A record that is missing is a circuit that was never opened:
-- closed, epoch 0. Every change raises the version, by which the copies beside
-- the upstream's other queues tell new from old.
--
-- KEYS[1]   the circuit's record, the one that decides
-- KEYS[2]   the account's record (the same for the account's own circuit)
-- KEYS[3]   the set of the upstream's endpoint circuits
-- KEYS[4]   the account's limits
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local own = {}
do
  local flat = redis.call('HGETALL', KEYS[1])
  for i = 1, #flat, 2 do own[flat[i]] = flat[i + 1] end
end
local state, epoch = own.state or 'closed', tonumber(own.epoch or 0)
local rung, failed = tonumber(own.rung or 0), tonumber(own.failed or 0)

-- changed tells those who follow: workers ask again at once.
local function changed()
  redis.call('HINCRBY', KEYS[2], 'version', 1)
  redis.call('PUBLISH', 'callq:news', KEYS[2])
end

-- endpoint notes on the account's record that one more, or one less, endpoint
-- is not closed, and remembers its name.
local function endpoint(delta)
  if KEYS[1] ~= KEYS[2] then
    redis.call('HINCRBY', KEYS[2], 'endpoints', delta)
    redis.call('SADD', KEYS[3], KEYS[1])
  end
end

local function open(until_ms, new_rung, new_failed)
  if state ~= 'open' then
    redis.call('HSET', KEYS[1], 'since', now)
    endpoint(1)
  end
  redis.call('HDEL', KEYS[1], 'token', 'lease', 'turn', 'counted', 'fault', 'other')
  redis.call('HSET', KEYS[1], 'state', 'open', 'epoch', epoch + 1, 'until', until_ms,
    'rung', new_rung, 'failed', new_failed)
  changed()
end

local function close()
  if state == 'open' then
    redis.call('HINCRBY', KEYS[1], 'held', now - tonumber(own.since or now))
    endpoint(-1)
  end
  redis.call('HDEL', KEYS[1], 'token', 'lease', 'turn', 'since', 'until', 'counted', 'fault', 'faults', 'refused',
    'refused_at', 'refused_epoch', 'alone', 'as_probe', 'failed_by', 'next', 'other')
  redis.call('HSET', KEYS[1], 'state', 'closed', 'epoch', epoch + 1, 'rung', 0, 'failed', 0, 'streak', 0)
  changed()
end
