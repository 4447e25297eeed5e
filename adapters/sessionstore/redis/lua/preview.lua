-- Gives a session's last messages as a list shows them. Where they can't be read it gives what is
-- no message, so that whoever reads it says so.

local function preview(messages, head, last)
  if last == '' or last == '0' then return {} end
  local count
  for i = 1, #head, 2 do
    if head[i] == 'count' then count = tonumber(head[i + 1]) end
  end
  local bodies = redis.pcall('LRANGE', messages, '-' .. last, '-1')
  if bodies.err or #bodies ~= math.min(tonumber(last), count or -1) then return {''} end
  return bodies
end
