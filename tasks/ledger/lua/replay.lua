-- replay is the part of dequeue.lua that answers a request which is sent again, as
-- after a lost reply: with the same calls, as long as they are its worker's. It returns
-- nil for a new request.
local function replay()
  local given = several and redis.call('GET', last_reply)
  if not given or string.match(given, '^%S+') ~= request then
    return nil
  end
  local calls = {}
  for line, q, start, id in string.gmatch(given, '\n%d ((%d) (%S+) %S+ %S+ %S+) ([^\n]+)') do
    local queue, starts = queues[tonumber(q)], 0
    local msg, fields = redis.call('HGET', queue.task .. id, 'msg'), redis.call('HGETALL', queue.record .. id)
    for j = 1, #fields, 2 do
      if fields[j] == 'starts' then
        starts = tonumber(fields[j + 1])
        fields[j + 1] = tostring(starts - 1) -- as the first delivery found it
      end
    end
    -- A call without a lease was returned to its queue; one with another start is
    -- another worker's.
    if msg and starts == tonumber(start) and redis.call('ZSCORE', queue.lease, id) then
      calls[#calls + 1] = {line = '0 ' .. line, msg = msg, id = id, fields = fields}
    end
  end
  return #calls > 0 and calls or nil
end

-- remember stores the reply to a request for several calls.
local function remember(calls)
  if several and #calls > 1 then
    local lines = {request}
    for n, call in ipairs(calls) do lines[n + 1] = call.line .. ' ' .. call.id end
    redis.call('SET', last_reply, table.concat(lines, '\n'), 'EX', 25)
  end
end
