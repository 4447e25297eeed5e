-- Reads the session that a fork is made of. Needs `find` and `place`, of that one's keys. It is a
-- function of these keys and of a message's id, by which nothing else is named here.

local session, refusal = find(caller)
if not session then return nil, refusal or {'NO-SESSION'} end
local last, free = session.count, session.first + session.count + session.gaps
if at ~= '' then
  local index, position = place(session, at, 'NO-MESSAGE')
  if not index then return nil, position end
  last, free = index + 1, position + 1
end
return session, nil, last, free
