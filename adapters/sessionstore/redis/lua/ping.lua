-- Gives a sign of life, from a node that serves the key's slot.
-- KEYS: 1 any.

return {'OK', redis.call('EXISTS', KEYS[1])}
