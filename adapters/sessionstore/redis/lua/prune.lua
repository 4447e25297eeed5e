-- Takes entries of expired sessions out, where the index is on the same machine.
-- KEYS: 1 the index.
-- ARGV: 1 the prefix; 2 the TTL in milliseconds; 3 above which activity; 4 how many entries to
-- look at.

local time, pruned, bound = redis.call('TIME'), 0, ARGV[3]
local oldest = string.format('%.0f', time[1] * 1000000 + time[2] - ARGV[2] * 1000)
local entries = redis.call('ZRANGEBYSCORE', index, '(' .. bound, oldest, 'WITHSCORES',
  'LIMIT', 0, ARGV[4])
for i = 1, #entries, 2 do
  if not look(entries[i]) then pruned = pruned + 1 end
  bound = plain(entries[i + 1])
end
if #entries < 2 * ARGV[4] then bound = '' end
return {'OK', pruned, bound}
