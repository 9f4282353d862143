-- pack is the part of dequeue.lua that encodes calls; join.lua is prepended to it.
--
-- text returns a whole number as text. Most numbers come again with the next calls, and
-- to find one takes less time than to write it.
local written = {}
local function text(n)
  local s = written[n]
  if not s then
    s = digits(n)
    written[n] = s
  end
  return s
end

-- A record that was never taken has the fields that accept.lua writes, and no others.
-- Most calls are taken once, and for them no table of fields is made.
local new = {'state', 'gen', 'batch', 'origin', 'content'}
local new_format = '<' .. string.rep(sized, 3 + #new)

-- fields_of reads a record. It returns its state, its starts, the bytes of its values, and
-- what pack needs: the values of the fields in new, and no list; or nil, and the list of
-- fields and values.
local function fields_of(record)
  if redis.call('HLEN', record) == #new then
    local v = redis.call('HMGET', record, unpack(new))
    if v[1] and v[2] and v[3] and v[4] and v[5] then
      return v[1], nil, #v[5], v
    end
  end
  local fields, state, starts, weight = redis.call('HGETALL', record), nil, nil, 0
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    if field == 'state' then
      state = value
    elseif field == 'starts' then
      starts = value
    end
    weight = weight + #value
  end
  return state, starts, weight, nil, fields
end

-- line_of describes how a call was taken: 1 if its record is as accept.lua wrote it, else 0;
-- its queue, starts, slot, microseconds until the slot, and money reserved.
local function line_of(call)
  return (call.new and '1 ' or '0 ') .. text(call.queue) .. ' ' .. text(call.starts) .. ' ' .. call.slot .. ' ' ..
    text(call.wait) .. ' ' .. call.money
end

-- pack encodes a call as these texts: the line above; asynq's message; its id; and its
-- record as it was found: the values of the fields in new, or fields and values.
local function pack(call)
  local line, msg, id, v = call.line, call.msg, call.id, call.new
  if v then
    return join(new_format, #line, line, #msg, msg, #id, id, #v[1], v[1], #v[2], v[2], #v[3], v[3], #v[4], v[4], #v[5], v[5])
  end
  return join_pairs(call.fields, join('<' .. string.rep(sized, 3), #line, line, #msg, msg, #id, id))
end
