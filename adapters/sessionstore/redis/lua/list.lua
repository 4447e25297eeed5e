-- Gives sessions, newest activity first, where the index is on the same machine: of each its entry,
-- its activity, its head and its last messages. Needs `look` and `preview`.
-- KEYS: 1 the index.
-- ARGV: 1 the prefix; 2 the agent asked for, where the index is not the agent's own; 3 how many
-- sessions; 4 below which activity; 5 how many entries to look at: others must not wait for a
-- long search; 6 from which activity on; 7 how many messages.

local wanted, limit, scan, since = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5]), ARGV[6]
local found, bound, last = {}, string.format('%.0f', 2 ^ 53), ''
if ARGV[4] ~= '' then bound = '(' .. ARGV[4] end
while scan > 0 do
  local chunk = math.min(scan, limit - #found / 4, 1000)
  local entries = redis.call('ZREVRANGEBYSCORE', index, bound, since, 'WITHSCORES',
    'LIMIT', 0, chunk)
  for i = 1, #entries, 2 do
    local head
    last = plain(entries[i + 1])
    if wanted == '' or string.find(entries[i], '/' .. wanted .. '/', 1, true) then
      head = look(entries[i])
    end
    if head and #head > 0 then
      local id = string.match(entries[i], '^[^/]*')
      found[#found + 1], found[#found + 2], found[#found + 3] = entries[i], last, head
      found[#found + 1] = preview(prefix .. '{' .. id .. '}:messages', head, ARGV[7])
    end
    bound = '(' .. last
  end
  if #entries < 2 * chunk then return {'OK', found, ''} end
  if #found == 4 * limit then break end
  scan = scan - chunk
end
return {'OK', found, last}
