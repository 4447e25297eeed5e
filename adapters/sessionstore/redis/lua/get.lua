-- Gives a session's head, and its last messages. Needs `tail`.
-- ARGV: 1 the caller; 2 the limit; 3 whether the first is wanted too.

local head, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #head, 2 do found[head[i]] = head[i + 1] end
local bodies, listed, refusal = tail(found.agent, found.user, found.count, found.gaps)
if refusal then return refusal end
local first = {}
if ARGV[3] ~= '' and listed > #bodies then first = redis.call('LRANGE', KEYS[2], 0, 0) end
return {'OK', head, bodies, first}
