-- trim takes tasks off asynq's archive that asynq itself would trim; in front of it
-- stands archive.lua.
--
-- KEYS[1]   asynq's archive
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   those that died before this, Unix seconds, go
-- ARGV[3]   how many are kept at most
--
-- Returns how many were taken off, at most a thousand: run it again until none was.
return trim(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
