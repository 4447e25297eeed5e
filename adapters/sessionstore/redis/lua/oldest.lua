-- Gives entries of an index under Cluster without activity for a TTL, oldest first.
-- KEYS: 1 the index.
-- ARGV: 1 above which activity; 2 how many entries; 3 the TTL in milliseconds.

local time = redis.call('TIME')
local bound = string.format('%.0f', time[1] * 1000000 + time[2] - ARGV[3] * 1000)
local entries = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], bound, 'WITHSCORES',
  'LIMIT', 0, ARGV[2])
for i = 2, #entries, 2 do entries[i] = plain(entries[i]) end
return {'OK', entries}
