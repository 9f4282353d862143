-- prelude is shared by all circuit scripts, which begin with holdlog.lua: the record,
-- Redis's clock, and the two functions that change the state. If there is no record, the
-- circuit was never opened: closed, epoch 0. Every change raises the version, so that the
-- copies for the upstream's other queues can be updated in any order.
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

-- changed announces the change: workers ask again at once.
local function changed()
  redis.call('HINCRBY', KEYS[2], 'version', 1)
  redis.call('PUBLISH', 'callq:news', KEYS[2])
end

-- endpoint adds delta to the account's number of endpoints whose circuit is open, and
-- records the name of this one.
local function endpoint(delta)
  if KEYS[1] ~= KEYS[2] then
    redis.call('HINCRBY', KEYS[2], 'endpoints', delta)
    redis.call('SADD', KEYS[3], KEYS[1])
  end
end

-- began is 1 if the script begins a hold. A later rung of the same hold begins none.
local began = 0

-- log_circuit adds the hold that ends, or that becomes a hold for another reason, to the
-- log of the account's holds.
local function log_circuit()
  local from = tonumber(own.held_from) or tonumber(own.since)
  if from and from <= now then
    log_hold(KEYS[2], {circuit = KEYS[1], from = from, to = now, held = now - from, reason = own.reason or '', class = own.class,
      code = own.code, message = own.message, correlation_id = own.correlation_id, failed = own.failed, who = own.who, note = own.note})
  end
end

-- another is true if the hold of an open circuit becomes a hold for another reason.
local function open(until_ms, new_rung, new_failed, another)
  if state ~= 'open' then
    began = 1
    redis.call('HSET', KEYS[1], 'since', now, 'held_from', now)
    endpoint(1)
  elseif another then
    log_circuit()
    redis.call('HSET', KEYS[1], 'held_from', now)
  end
  redis.call('HDEL', KEYS[1], 'token', 'lease', 'turn', 'counted', 'fault', 'other')
  redis.call('HSET', KEYS[1], 'state', 'open', 'epoch', epoch + 1, 'until', until_ms,
    'rung', new_rung, 'failed', new_failed)
  changed()
end

local function close()
  if state == 'open' then
    redis.call('HINCRBY', KEYS[1], 'held', now - tonumber(own.since or now))
    log_circuit()
    endpoint(-1)
  end
  redis.call('HDEL', KEYS[1], 'token', 'lease', 'turn', 'since', 'held_from', 'until', 'counted', 'fault', 'faults', 'refused',
    'refused_at', 'refused_epoch', 'alone', 'as_probe', 'failed_by', 'next', 'other')
  redis.call('HSET', KEYS[1], 'state', 'closed', 'epoch', epoch + 1, 'rung', 0, 'failed', 0, 'streak', 0)
  changed()
end
