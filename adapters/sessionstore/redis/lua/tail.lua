-- Reads the end of a session, which every turn does: nothing here needs `find`, whose functions
-- alone take longer to make than this takes. It tells whether the caller may read, and whether
-- the session is whole; whether its head can be read, the store tells.

-- Gives the messages, and how many there are in all, or a refusal as the third value.
local function tail(agent, user, count, gaps)
  if not agent then return nil, nil, {'NONE'} end
  local caller, limit = ARGV[1], ARGV[2]
  if caller ~= '' and user ~= '' and user ~= caller then return nil, nil, {'ACCESS'} end
  local listed = redis.call('LLEN', KEYS[2])
  local sound = user and tonumber(count) == listed and listed == redis.call('HLEN', KEYS[3])
    and tonumber(gaps or '0') == redis.call('ZCARD', KEYS[4])
  if not sound then return nil, nil, {'CORRUPT'} end
  if limit == '0' then return {}, listed end
  return redis.call('LRANGE', KEYS[2], limit == '' and 0 or -limit, -1), listed
end
