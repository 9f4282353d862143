-- states stands in front of scripts that tell open calls from ended ones. A call whose
-- state is none of callq's is taken for open.
local ended = {done = true, dropped = true, dead = true, cancelled = true}
