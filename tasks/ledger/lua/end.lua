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
--           how many arguments follow
--           for a dead letter its group's name and description
--           pairs of record field and value. body is the first one, if there is a
--           body; assumed is the last one if no answer was seen: an answer replaces
--           that ending later
--
-- done and dropped remove the task from asynq's lists; asynq archives that of a dead
-- letter itself, next.
--
-- Returns {streak, for each call 1 when its ending was recorded and 0 when it had ended
-- before or moved on}.
--
-- It reads before it writes, so that a failing read leaves everything as it was.

local calls, off, archives, at = {}, {}, false, 6
while at <= #ARGV do
  local record, gen, dead = ARGV[2] .. 'c:' .. ARGV[at], ARGV[at + 2], ARGV[at + 3] == 'dead'
  local call = {from = dead and at + 7 or at + 5, at = at, to = at + 4 + ARGV[at + 4], record = record}
  local r = redis.pcall('HMGET', record, 'state', 'gen', 'watched')
  if r.err then r = {false, ''} end -- not a record any more: the next dequeue of its task finds that
  call.applied = r[2] == gen and r[1] == 'open'
  if r[1] == 'dead' then
    call.was = redis.call('HMGET', record, 'assumed', 'group', 'purged')
    call.applied = r[2] == gen and call.was[1] == '1' and ARGV[call.to - 1] ~= 'assumed'
  end
  call.watched = r[3]
  -- The task of a later generation belongs to another worker.
  if not dead and (not r[2] or r[2] == gen) then
    off[#off + 1] = ARGV[at]
  end
  archives = archives or dead
  if call.applied then
    counts_of(ARGV[2], ARGV[at + 1])
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
  if redis.call('LREM', KEYS[1], '-1', id) == 1 then -- those that were taken first are the last ones
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

-- replace removes an assumed ending from the lists and the record, for one that takes its
-- place. It returns how many bytes of results that frees.
local function replace(record, id, state, group, bytes)
  ensure_type('zset', KEYS[5], KEYS[7])
  ensure_type('hash', KEYS[8])
  leave_group(KEYS[7], KEYS[8], ARGV[2], group, {id})
  if state ~= 'dead' and redis.call('ZREM', KEYS[5], id) == 1 then
    redis.call('DEL', ARGV[1] .. id)
  end
  redis.call('HDEL', record, 'assumed', 'group')
  return bytes > 0 and redis.call('HSTRLEN', record, 'body') or 0
end

local closed, all_bytes = {}, 0
for n, call in ipairs(calls) do
  result[n + 1] = call.applied and 1 or 0
  if call.applied then
    local record, was, id, state = call.record, call.was, ARGV[call.at], ARGV[call.at + 3]
    local bytes = ARGV[call.from] == 'body' and #ARGV[call.from + 1] or 0
    closed[#closed + 1] = id
    if was then
      bytes = bytes - replace(record, id, state, was[2] or '', bytes)
    end
    local b = counts_of(ARGV[2], ARGV[call.at + 1])
    b.bodies, all_bytes = math.max(b.bodies + bytes, 0), all_bytes + bytes
    local score = stamp(b, t, record, id, was and 'dead' or 'open', state, call.from, call.to)
    -- A dead letter that was purged is not listed again, even when a late answer
    -- arrives.
    if state == 'dead' and not (was and was[3]) then
      local group = ARGV[call.at + 5]
      enter_group(KEYS[7], KEYS[8], ARGV[2] .. 'd:' .. group, group, ARGV[call.at + 6], score, id)
    end
    if call.watched then
      tell(record, id)
    end
  end
end
if #closed > 0 then
  redis.pcall('ZREM', ARGV[2] .. 'deadlines', unpack(closed))
end
write_counts(ARGV[2])
add_bodies(ARGV[2], all_bytes)
return result
