-- Gives a session's last messages. Needs `tail`.
-- ARGV: 1 the caller; 2 the limit; 3 whether the first is wanted too.

local head = redis.call('HMGET', KEYS[1], 'agent', 'user', 'count', 'gaps')
local bodies, listed, refusal = tail(head[1], head[2], head[3], head[4])
if refusal then return refusal end
local first = {}
if ARGV[3] ~= '' and listed > #bodies then first = redis.call('LRANGE', KEYS[2], 0, 0) end
return {'OK', first, bodies}
