-- grab is the part of dequeue.lua that moves tasks from pending to active.
--
-- After this many bytes of records no more calls are taken: Redis serves no other
-- client meanwhile.
local heavy = 1048576
local worker = ARGV[#ARGV - 1] .. ' '
local weight, looked, swept, shut = 0, 0, false, {}

-- countable reports whether Redis can add one to the number in a record.
local function countable(text)
  local n = tonumber(text)
  return n and #text < 16 and string.format('%.0f', n) == text and text ~= '-0'
end

-- judge decides what becomes of the next task of a queue, and adds it to the lists that
-- move carries out. It returns false if the tasks behind it stay where they are for
-- now.
local function judge(q, id, found)
  local queue = queues[q]
  local msg = redis.call('HGET', queue.task .. id, 'msg')
  local state, starts, bytes, new, fields = fields_of(queue.record .. id)
  if starts and not countable(starts) then
    found.corrupt[#found.corrupt + 1] = queue.record .. id
  end
  weight = weight + bytes
  if state == 'dead' and msg and string.find(msg, '[callq ' .. id .. ' g', 1, true) then
    -- The message has the text with which its worker had it archived as last error only
    -- if asynq's Run was the last thing that happened to the task.
    if #calls > 0 then
      want = #calls -- the next request meets it first
      return false
    end
    -- If the worker dies before the redrive, the next request meets it again.
    redis.call('LPUSH', queue.pending, id)
    refusal, found.seen = {4, msg, id, q}, found.seen + 1
    return false
  elseif not msg or ended[state] then
    found.ended[#found.ended + 1] = queue.task .. id
  else
    -- A call in an unknown state is delivered too: the worker ends it.
    local call = {msg = msg, id = id, queue = q, starts = 0, slot = '0', wait = 0, money = '0', new = new, fields = fields}
    if #calls == want or not take_slot(call) then
      return false
    end
    calls[#calls + 1], found.moved[#found.moved + 1] = call, id
    if weight > heavy then
      want = #calls
    end
    found.leases[#found.leases + 1], found.leases[#found.leases + 2] = ARGV[1], id
  end
  found.seen = found.seen + 1
  return true
end

-- move carries out what judge decided.
local function move(queue, found)
  if #found.moved > 0 then
    redis.call('LPUSH', queue.active, unpack(found.moved))
    redis.call('ZADD', queue.lease, unpack(found.leases))
  end
  redis.call('LTRIM', queue.pending, 0, -found.seen - 1)
  if #found.ended > 0 then
    swept = true
    redis.call('DEL', unpack(found.ended))
  end
  for _, one in ipairs(found.corrupt) do
    redis.call('HSET', one, 'starts', -1) -- a number that can be counted on from, and that callq never writes
  end
  for i = #calls - #found.moved + 1, #calls do
    local call = calls[i]
    if call.new or #call.fields > 0 then
      call.starts = redis.call('HINCRBY', queue.record .. call.id, 'starts', '1')
    end
    redis.call('HSET', queue.task .. call.id, 'state', 'active', 'worker', worker .. text(call.starts))
    call.line = line_of(call)
  end
end

-- grab takes up to n calls of a queue. Tasks that ended while they waited (cancelled,
-- or ended by a worker that died before it informed asynq) are removed here and never
-- reach a worker.
local function grab(q, n)
  local queue = queues[q]
  while not (shut[q] or refusal) and n > 0 and #calls < want and looked < 100 + want do
    local ids = redis.call('LRANGE', queue.pending, -math.min(n, want - #calls), -1)
    shut[q] = #ids == 0 or (shut[q] == nil and redis.call('EXISTS', queue.paused) == 1)
    if not (shut[q] or asked) then
      refusal = admit()
    end
    if shut[q] or refusal then
      return
    end
    local found = {moved = {}, leases = {}, ended = {}, corrupt = {}, seen = 0}
    for i = #ids, 1, -1 do -- the next one is the last of the list
      if not judge(q, ids[i], found) then
        break
      end
    end
    move(queue, found)
    looked, n = looked + found.seen, n - #found.moved
  end
end
