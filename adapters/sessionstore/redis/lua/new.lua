-- Makes a session. Needs `write`.

local function new(agent)
  local session = {agent = agent, user = caller, updated = 0, version = 0, count = 0,
    first = 0, gaps = 0, is_new = true}
  begin(session)
  session.created = string.format('%.0f', session.updated)
  return session
end
