-- lengths measures records of one queue before they are read: a page of them may be too
-- large to be read in one step.
--
-- KEYS[1]   a record
-- ARGV[1]   the record key prefix
-- ARGV[2..] ids of calls
--
-- Returns how many bytes the content and the body of each record have together; 0 if
-- there is no record.
local sizes = {}
for i = 2, #ARGV do
  local record = ARGV[1] .. ARGV[i]
  local content, body = redis.pcall('HSTRLEN', record, 'content'), redis.pcall('HSTRLEN', record, 'body')
  sizes[i - 1] = type(content) == 'number' and type(body) == 'number' and content + body or 0
end
return sizes
