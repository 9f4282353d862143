-- giveback writes marks back that a Redis which has gone back in time has forgotten:
-- the call of each mark may have been sent.
--
-- KEYS[1]   the queue's fence, see fence.lua
-- ARGV[1]   the record key prefix
-- ARGV[2]   the life in which they are written back
-- ARGV[3]   the worker's name
-- ARGV[4]   how many of the marks above the life's base the worker has given back when
--           this is done; empty: more follow
-- ARGV[5..] for each mark the call's id, the generation, the attempt's number, the name
--           of this worker's mark, and the mark's number
--
-- The field given shows a worker that has taken the call since that the mark is an
-- earlier one, and not that of a worker which holds the call at the same time.
--
-- A record that is missing, has ended or moved on stays as it is, and so does another
-- mark.
-- Returns how many marks were written, -1 if another life has begun since.
-- Running it twice, as after a lost reply, changes nothing.
local f = redis.call('HMGET', KEYS[1], 'life', 'open')
if f[1] ~= ARGV[2] then
  return -1
end
local written = 0
for i = 5, #ARGV, 5 do
  local record = ARGV[1] .. ARGV[i]
  local r = redis.pcall('HMGET', record, 'state', 'gen', 'sent')
  if not r.err and r[1] == 'open' and r[2] == ARGV[i + 1] and not r[3] then
    redis.call('HSET', record, 'sent', ARGV[i + 2], 'mark', ARGV[i + 3], 'no', ARGV[i + 4], 'given', 1)
    written = written + 1
  end
end
if ARGV[4] ~= '' and f[2] ~= '1' then
  redis.call('HSET', KEYS[1], 'g:' .. ARGV[3], ARGV[4])
end
return written
