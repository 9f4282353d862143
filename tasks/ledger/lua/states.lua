-- states is prepended to scripts that distinguish open calls from ended ones. A call
-- with an unknown state counts as open.
local ended = {done = true, dropped = true, dead = true, cancelled = true}
