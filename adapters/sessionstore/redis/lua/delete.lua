-- Deletes a session.

if done then return {'OK', 1} end
local session, refusal, leftovers = find(caller, true)
if refusal then return refusal end
if not session then
  if leftovers then redis.call('UNLINK', messages, positions, gaps) end
  return {'NONE'}
end
session.user, session.updated = session.user or '', session.updated or 0
local updated = session.updated
begin(session)
redis.call('UNLINK', head, messages, positions, gaps)
remember(0, 1)
for i = 1, #expired do forget(expired[i], prefix) end
for i = 1, #indexes do redis.call('ZREM', indexes[i], member) end
return {'OK', 1, session.agent, session.user, string.format('%.0f', updated)}
