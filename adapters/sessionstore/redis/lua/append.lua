-- Adds messages at the end.
-- ARGV: 7 the agent, if this makes the session; 8 the expected version; then id and message.

if over then return {'OK', done.added} end
local session, refusal, leftovers = find(caller)
if refusal then return refusal end
if repeated(session) then return receipt(session) end
local version = session and session.version or 0
if ARGV[8] ~= '' and tonumber(ARGV[8]) ~= version then return {'CONFLICT', version} end
if #ARGV < 9 then return {'NOTHING'} end
local updated = session and string.format('%.0f', session.updated)
if session then begin(session) else session = new(ARGV[7]) end
if leftovers then redis.call('UNLINK', messages, positions, gaps) end
local added = add(session, 9)
if added == 0 then
  redis.call('HSET', head, 'count', session.count)  -- for a WAIT to wait for
  return {'NOTHING', 0, session.agent, session.user, updated}
end
finish(session, added, ARGV[8] == '')
return receipt(session)
