-- withdraw ends open calls of one queue that no worker is making: calls that a person
-- cancels, or whose deadline has passed. A call with an unknown state counts as open.
-- archive.lua, states.lua, number.lua, counts.lua, dead.lua and ending.lua are
-- prepended to it.
--
-- KEYS[1]   asynq's lease set
-- KEYS[2]   asynq's scheduled set
-- KEYS[3]   asynq's retry set
-- KEYS[4]   asynq's pending list
-- KEYS[5]   asynq's archive
-- KEYS[6]   the queue's dead letters: id by microsecond
-- KEYS[7]   the queue's groups: hash, group -> description
-- KEYS[8]   the queue's deadlines
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   the ledger's key prefix of the queue; see end.lua
-- ARGV[3]   archive entries that died before this, Unix seconds, are trimmed
-- ARGV[4]   how many archive entries are kept
-- ARGV[5..] for each call, each id once:
--           its id
--           its batch
--           its generation; empty for any
--           the mark that it was sent, as the caller has read it, or empty
--           the new state: cancelled or dead. It is empty, and nothing follows, for a call
--           that ends as the one before it does
--           for a dead letter, the group's name
--           the group's description
--           bytes to append to asynq's message, so that it names the last error
--           how many arguments follow: pairs of record field and value
--
-- Returns for each call 1 when it was ended; 0 when it had ended before or moved on; -1
-- when a worker has taken it: the worker ends it; -2 when it has another mark.
-- Finding one task in a long list is slow. It stays there, and the next dequeue that meets it removes it.
local long = 5000
local calls, result, over, buries, at, ending = {}, {}, {}, false, 5, nil
-- Most of the time no call is delayed. Then none is looked for among those that are.
local leased, delayed = redis.call('EXISTS', KEYS[1]) == 1, redis.call('EXISTS', KEYS[2], KEYS[3]) > 0
while at <= #ARGV do
  local call, mark = {id = ARGV[at], batch = ARGV[at + 1], record = ARGV[2] .. 'c:' .. ARGV[at]}, ARGV[at + 3]
  local gen, next_at = ARGV[at + 2], at + 5
  if ARGV[at + 4] ~= '' then
    ending = {state = ARGV[at + 4], group = ARGV[at + 5], description = ARGV[at + 6], tail = ARGV[at + 7], from = at + 9, to = at + 8 + ARGV[at + 8]}
    next_at = ending.to + 1
  end
  call.ending = ending
  local r = redis.pcall('HMGET', call.record, 'state', 'gen', 'sent', 'watched')
  call.watched = r[4]
  if r.err or not r[1] or ended[r[1]] or (gen ~= '' and gen ~= r[2]) then
    result[#result + 1] = 0
  elseif leased and redis.call('ZSCORE', KEYS[1], call.id) then
    result[#result + 1] = -1
  elseif (r[3] or '') ~= mark then
    result[#result + 1] = -2
  else
    result[#result + 1] = 1
    calls[#calls + 1], over[#over + 1] = call, call.id
    buries = buries or ending.state == 'dead'
  end
  at = next_at
end
if #calls == 0 then
  return result
end

-- This write comes first because it needs no memory: a script that has written may go
-- on when Redis is full.
ensure_type('zset', KEYS[8])
redis.call('ZREM', KEYS[8], unpack(over))
if buries then
  ensure_type('zset', KEYS[5], KEYS[6])
  ensure_type('hash', KEYS[7])
  make_room(KEYS[5], ARGV[1], ARGV[3], ARGV[4])
end
local t = redis.call('TIME')
for _, call in ipairs(calls) do
  local task, e = ARGV[1] .. call.id, call.ending
  local dead = e.state == 'dead'
  local off = delayed and redis.call('ZREM', KEYS[2], call.id) + redis.call('ZREM', KEYS[3], call.id) or 0
  if off == 0 and dead and redis.call('LLEN', KEYS[4]) <= long then
    off = redis.call('LREM', KEYS[4], -1, call.id)
  end
  if off > 0 then
    local msg = dead and redis.pcall('HGET', task, 'msg')
    if type(msg) == 'string' then
      redis.call('HSET', task, 'msg', msg .. e.tail, 'state', 'archived')
      redis.call('ZADD', KEYS[5], t[1], call.id)
    else
      redis.call('DEL', task)
    end
  end
  local score = stamp(counts_of(ARGV[2], call.batch), t, call.record, call.id, 'open', e.state, e.from, e.to)
  if dead then
    enter_group(KEYS[6], KEYS[7], ARGV[2] .. 'd:' .. e.group, e.group, e.description, score, call.id)
  end
  if call.watched then
    tell(call.record, call.id)
  end
end
write_counts(ARGV[2])
return result
