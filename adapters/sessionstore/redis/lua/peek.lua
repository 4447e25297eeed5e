-- Gives a session's head, as it is, and its last messages. Needs `preview`.
-- KEYS: 1 the head; 2 the messages.
-- ARGV: 1 how many messages.

local head = redis.pcall('HGETALL', KEYS[1])
if head.err then return {'CORRUPT'} end
return {'OK', head, #head > 0 and preview(KEYS[2], head, ARGV[1]) or {}}
