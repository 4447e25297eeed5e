-- Finds a message. Needs `find`.

-- Gives a message's place in the list, and its position, or a refusal as the second value.
local function place(session, message, unknown)
  local position = redis.call('HGET', positions, message)
  if not position then return nil, {unknown} end
  position = whole(position)
  local index = position and position - session.first
  if index and session.gaps > 0 then
    index = index - redis.call('ZCOUNT', gaps, '-inf', position)
  end
  if not index or index < 0 or index >= session.count then return nil, {'CORRUPT'} end
  return index, position
end
