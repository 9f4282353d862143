-- end_hold ends a hold before its time, so that its probe may be sent. Nothing else of
-- the record changes.
--
-- ARGV[1]   the epoch of the hold
--
-- Returns 1 if it did, or 0 if another hold has followed, the hold is over, or its probe is out.
if state == 'open' and epoch == tonumber(ARGV[1]) and tonumber(own['until']) > now and not own.token then
  redis.call('HSET', KEYS[1], 'until', now)
  changed()
  return 1
end
return 0
