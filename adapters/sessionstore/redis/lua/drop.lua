-- Takes a session out of an index under Cluster. An entry that was touched since is of a session
-- that is there again.
-- KEYS: 1 the index; 2 when its entries end.
-- ARGV: 1 the entry; 2 the latest activity to take out.

local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) > tonumber(ARGV[2]) then return {'OK', 0} end
redis.call('ZREM', KEYS[2], ARGV[1])
return {'OK', redis.call('ZREM', KEYS[1], ARGV[1])}
