-- Gives entries of an index under Cluster, newest activity first.
-- KEYS: 1 the index.
-- ARGV: 1 below which activity; 2 how many sessions; 3 the agent asked for, where the index is
-- not the agent's own; 4 how many entries to look at for that; 5 from which activity on. Gives
-- the last activity looked at, too, or nothing at the end.

local bound, limit = string.format('%.0f', 2 ^ 53), tonumber(ARGV[2])
local wanted, size = ARGV[3], tonumber(ARGV[4])
if ARGV[1] ~= '' then bound = '(' .. ARGV[1] end
if wanted == '' then size = math.min(size, limit) end
local entries = redis.call('ZREVRANGEBYSCORE', KEYS[1], bound, ARGV[5], 'WITHSCORES',
  'LIMIT', 0, size)
local found = {}
for i = 1, #entries, 2 do
  if wanted == '' or string.find(entries[i], '/' .. wanted .. '/', 1, true) then
    local score = plain(entries[i + 1])
    found[#found + 1], found[#found + 2] = entries[i], score
    if #found == 2 * limit then return {'OK', found, score} end
  end
end
if #entries < 2 * size then return {'OK', found, ''} end
return {'OK', found, plain(entries[#entries])}
