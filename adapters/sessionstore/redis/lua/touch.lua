-- Enters a session into an index under Cluster. Needs `enter`.
-- KEYS: 1 the index; 2 when its entries end, in the same slot, so that a few of those that have
-- ended can go with each write.
-- ARGV: 1 the entry; 2 its activity; 3 the TTL in milliseconds. A late answer never moves a
-- session back, and no two activities are the same.

local index, ends, member, score, ttl = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]), ARGV[3]

local old = tonumber(redis.call('ZSCORE', index, member) or '-1')
if old >= score and old < 2 ^ 53 then return {'OK'} end
while redis.call('ZCOUNT', index, score, score) > 0 do score = score + 1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ended = redis.call('ZRANGEBYSCORE', ends, '-inf', string.format('%.0f', now), 'LIMIT', 0, 4)
for i = 1, #ended do
  redis.call('ZREM', index, ended[i])
  redis.call('ZREM', ends, ended[i])
end
if ttl == '' then
  redis.call('ZREM', ends, member)
else
  enter(ends, string.format('%.0f', now + later(ttl)), member, ttl)
end
enter(index, score, member, ttl)
return {'OK'}
