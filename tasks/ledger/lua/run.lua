-- run stands in front of scripts that have to know whether Redis has gone back in
-- time. run() is the name of this Redis process, another one after each start,
-- fail-over and restore; empty where this user may not ask for it, or it has none.
local function run()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end
