-- Makes a session.
-- ARGV: 7 the agent; 8 how many words of metadata follow, as name and value; then id and
-- message.

if over then
  local fields = {'agent', ARGV[7], 'user', caller, 'created', string.format('%.0f', done.time),
    'updated', string.format('%.0f', done.time), 'version', '1',
    'count', string.format('%.0f', done.added)}
  for i = 9, 8 + ARGV[8] do fields[#fields + 1] = ARGV[i] end
  return {'OK', done.added, '', '', '', fields}
end
local session, refusal, leftovers = find(caller)
if refusal then return refusal end
if not repeated(session) then
  if session then return {'EXISTS'} end
  session = new(ARGV[7])
  if leftovers then redis.call('UNLINK', messages, positions, gaps) end
  local added = add(session, 9 + ARGV[8])
  for i = 9, 8 + ARGV[8], 2 do redis.call('HSET', head, ARGV[i], ARGV[i + 1]) end
  finish(session, added)
end
return state(session)
