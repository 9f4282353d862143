-- trim removes tasks from asynq's archive that asynq itself would trim; archive.lua is
-- prepended to it.
--
-- KEYS[1]   asynq's archive
-- ARGV[1]   asynq's task key prefix
-- ARGV[2]   those that died before this, Unix seconds, are removed
-- ARGV[3]   how many are kept at most
--
-- Returns how many were removed, at most a thousand: run it again until it returns 0.
return trim(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
