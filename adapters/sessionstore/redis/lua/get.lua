-- Gives a session's head, and its last messages. Needs `tail`.
-- ARGV: 1 the caller; 2 the limit.

local head, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #head, 2 do found[head[i]] = head[i + 1] end
local bodies, _, refusal = tail(found.agent, found.user, found.count, found.gaps)
return refusal or {'OK', head, bodies}
