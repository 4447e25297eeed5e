-- The reply of a write that gives the session. Needs `write`.

local function state(session)
  local reply, fields = receipt(session), redis.call('HGETALL', head)
  for i = 1, #fields, 2 do
    if fields[i] == 'version' then fields[i + 1] = string.format('%.0f', session.version) end
  end
  reply[6] = fields
  return reply
end
