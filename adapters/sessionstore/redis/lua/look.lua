-- Looks at the session of an entry, where the index is on the same machine, and forgets the
-- entry where that is gone. Needs `forget`.

local index, prefix = KEYS[1], ARGV[1]

local function look(member)
  local id, agent, user = string.match(member, '^([^/]*)/([^/]*)/([^/]*)$')
  if not id then return {} end
  local head = redis.pcall('HGETALL', prefix .. '{' .. id .. '}:session')
  if head.err then return {} end
  local found = {}
  for i = 1, #head, 2 do found[head[i]] = head[i + 1] end
  if found.agent == agent and found.user == user then return head end
  forget(member, prefix)
end
