-- Takes an entry out of its indexes. Never fails: it is called after writes.

local function forget(member, prefix)
  local _, agent, user = string.match(member, '^([^/]*)/([^/]*)/([^/]*)$')
  redis.pcall('ZREM', prefix .. '{:all}', member)
  redis.pcall('ZREM', prefix .. '{:agent:' .. agent .. '}', member)
  if user ~= '' then redis.pcall('ZREM', prefix .. '{:user:' .. user .. '}', member) end
end
