-- life is prepended to scripts that have to find out whether Redis has gone back in
-- time. run() is the name of this Redis process; each start, failover and restore has
-- another one. It is empty if this user may not ask for it, or if the process has none.
local function run()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end

-- life_name is the name of a life of Redis that begins at time t in the process id.
local function life_name(id, t) return id .. '.' .. t[1] .. '.' .. t[2] end

-- begin_fence writes the fence, see fence.lua, of a queue in which no mark was ever
-- made. It returns the name of its life.
local function begin_fence(key, id, t)
  local life = life_name(id, t)
  redis.call('HSET', key, 'life', life, 'run', id, 'n', 0, 'base', 0, 'top', 0,
    'since', t[1] .. string.format('%03d', math.floor(t[2] / 1000)), 'open', 1)
  return life
end
