-- Gives a session's head, as it is.
-- KEYS: 1 the head.

local head = redis.pcall('HGETALL', KEYS[1])
if head.err then return {'CORRUPT'} end
return {'OK', head}
