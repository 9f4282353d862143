-- end records how calls of one queue ended, each once: a second ending of a call is
-- refused. archive.lua, number.lua, counts.lua, dead.lua and ending.lua are prepended
-- to it.
--
-- KEYS[1]   asynq's active list
-- KEYS[2]   asynq's lease set
-- KEYS[3]   asynq's count of processed tasks of the day
-- KEYS[4]   asynq's count of processed tasks
-- KEYS[5]   asynq's archive
-- KEYS[6]   the queue's circuit record
-- KEYS[7]   the queue's dead letters: id by microsecond
-- KEYS[8]   the queue's groups: hash, group -> description
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   the ledger's key prefix of the queue. It is followed by c:ID, a call's
--           record; b:BATCH, a batch's counts in this queue; e:BATCH, its ended calls,
--           id by microsecond; d:GROUP, the dead letters of a group, the same;
--           deadlines, the index of deadlines; bodies, the bytes of the stored results
-- ARGV[3]   when asynq's count of the day expires, Unix seconds
-- ARGV[4]   archive entries that died before this, Unix seconds, are trimmed
-- ARGV[5]   how many archive entries are kept
-- ARGV[6..] for each call, each id once:
--           its id
--           its batch
--           the generation that the worker made
--           the new state: done, dropped or dead
--           1 to remove the task from asynq's lists here (done, dropped); 0 if asynq
--           archives it next
--           1 if this is a real answer, which replaces an assumed ending
--           the group's name, or empty
--           the group's description, or empty
--           how many bytes its body has
--           how many arguments follow: pairs of record field and value
--
-- Returns {streak, for each call 1 when its ending was recorded and 0 when it had ended
-- before or moved on}.
--
-- It reads before it writes, so that a failing read leaves everything as it was.

local calls, off, archives, at = {}, {}, false, 6
while at <= #ARGV do
  local call = {id = ARGV[at], batch = ARGV[at + 1], gen = ARGV[at + 2], state = ARGV[at + 3], off = ARGV[at + 4] == '1',
    real = ARGV[at + 5] == '1', group = ARGV[at + 6], description = ARGV[at + 7], bytes = number(ARGV[at + 8]), from = at + 10, to = at + 9 + ARGV[at + 9]}
  call.record = ARGV[2] .. 'c:' .. call.id
  local r = redis.pcall('HMGET', call.record, 'state', 'gen', 'assumed', 'group', 'purged', 'watched')
  if r.err then r = {false, ''} end -- not a record any more: the next dequeue of its task finds that
  call.replaces = r[1] == 'dead' and r[3] == '1' and call.real
  call.applied = r[2] == call.gen and (r[1] == 'open' or call.replaces)
  call.before, call.was, call.purged, call.watched = r[1], r[4] or '', r[5], r[6]
  -- The task of a later generation belongs to another worker.
  if call.off and (not r[2] or r[2] == call.gen) then
    off[#off + 1] = call.id
  end
  archives = archives or not call.off
  if call.applied then
    counts_of(ARGV[2], call.batch)
  end
  calls[#calls + 1], at = call, call.to + 1
end
local result = {number(redis.pcall('HGET', KEYS[6], 'streak'))}
local t = redis.call('TIME')

-- The first write needs no memory: a script that has written may go on when Redis is
-- full.
redis.call('ZREM', KEYS[2], unpack(#off > 0 and off or {''}))
local gone = {}
for _, id in ipairs(off) do
  if redis.call('LREM', KEYS[1], 1, id) == 1 then
    gone[#gone + 1] = ARGV[1] .. id
  end
end
if #gone > 0 then
  redis.call('DEL', unpack(gone))
  -- asynq only shows these figures: a corrupt one must not keep a call from ending.
  if redis.pcall('INCRBY', KEYS[3], #gone) == #gone then
    redis.call('EXPIREAT', KEYS[3], ARGV[3])
  end
  redis.pcall('INCRBY', KEYS[4], #gone)
end

if archives then
  ensure_type('zset', KEYS[5], KEYS[7])
  ensure_type('hash', KEYS[8])
  make_room(KEYS[5], ARGV[1], ARGV[4], ARGV[5])
end

local closed, bytes = {}, 0
for n, call in ipairs(calls) do
  result[n + 1] = call.applied and 1 or 0
  if call.applied then
    closed[#closed + 1] = call.id
    if call.replaces then
      ensure_type('zset', KEYS[5], KEYS[7])
      ensure_type('hash', KEYS[8])
      leave_group(KEYS[7], KEYS[8], ARGV[2], call.was, {call.id})
      if call.state ~= 'dead' and redis.call('ZREM', KEYS[5], call.id) == 1 then
        redis.call('DEL', ARGV[1] .. call.id)
      end
      redis.call('HDEL', call.record, 'assumed', 'group')
    end
    if call.replaces then
      call.bytes = call.bytes - (call.bytes > 0 and redis.call('HSTRLEN', call.record, 'body') or 0)
    end
    local b = counts_of(ARGV[2], call.batch)
    b.bodies, bytes = math.max(b.bodies + call.bytes, 0), bytes + call.bytes
    local score = stamp(b, t, call.record, call.id, call.before, call.state, call.from, call.to)
    -- A dead letter that was purged is not listed again, even when a late answer
    -- arrives.
    if call.state == 'dead' and not call.purged then
      enter_group(KEYS[7], KEYS[8], ARGV[2] .. 'd:' .. call.group, call.group, call.description, score, call.id)
    end
    if call.watched then
      tell(call.record, call.id)
    end
  end
end
if #closed > 0 then
  redis.pcall('ZREM', ARGV[2] .. 'deadlines', unpack(closed))
end
write_counts(ARGV[2])
add_bodies(ARGV[2], bytes)
return result
