-- free removes the stored results of ended calls of one batch, a page at a time, or of
-- single calls, and leaves the rest of their records. counts.lua is prepended to it.
--
-- KEYS[1]   the batch's ended calls in this queue
-- ARGV[1]   the ledger's key prefix of the queue; see end.lua
-- ARGV[2]   only calls that ended after this microsecond, or -inf; empty for single
--           calls: their ids then follow instead of the states
-- ARGV[3]   only calls that ended no later than this microsecond
-- ARGV[4]   how many to look at
-- ARGV[5]   the batch's name; empty for single calls, of any batch
-- ARGV[6..] the states whose results are removed, or the ids
--
-- Returns {how many were looked at, last microsecond looked at, how many were freed}.
--
-- The first write to a record needs no memory, so a full Redis can be freed.
local bytes, freed = {}, 0
local function drop(record, batch)
  local n = redis.call('HSTRLEN', record, 'body')
  if redis.call('HDEL', record, 'body', 'type') > 0 then
    redis.call('HSET', record, 'freed', n)
    bytes[batch], freed = (bytes[batch] or 0) + n, freed + 1
  end
end
local looked, last = 0, ARGV[2]
if ARGV[2] == '' then
  for i = 6, #ARGV do
    local record = ARGV[1] .. 'c:' .. ARGV[i]
    local r = redis.pcall('HMGET', record, 'state', 'batch')
    if not r.err and r[1] and r[1] ~= 'open' then
      drop(record, r[2] or '')
    end
  end
else
  local wanted = {}
  for i = 6, #ARGV do
    wanted[ARGV[i]] = true
  end
  local ids = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], ARGV[3], 'WITHSCORES', 'LIMIT', 0, ARGV[4])
  looked = #ids / 2
  for i = 1, #ids, 2 do
    local record = ARGV[1] .. 'c:' .. ids[i]
    last = ids[i + 1]
    if wanted[redis.call('HGET', record, 'state') or ''] then
      drop(record, ARGV[5])
    end
  end
end
for batch, n in pairs(bytes) do
  add_batch_bodies(ARGV[1], batch, -n)
end
return {looked, last, freed}
