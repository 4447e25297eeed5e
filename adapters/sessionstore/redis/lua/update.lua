-- Replaces the messages, and merges the metadata, as far as given. Needs `json`.
-- ARGV: 7 the expected version; 8 whether the messages are replaced; 9 how many words of
-- metadata follow, as name and value, with an empty value for a name to remove; then id and
-- message.

-- Whether the metadata that stays can be read: what can't is refused before anything is written.
local function readable()
  local given = {}
  for i = 10, 9 + ARGV[9], 2 do given[ARGV[i]] = true end
  local fields = redis.call('HGETALL', head)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 1) == ':' and not given[fields[i]]
      and not (is_utf8(fields[i]) and is_json(fields[i + 1])) then
      return false
    end
  end
  return true
end

-- Metadata alone leaves the session where it is in lists, and all its keys the time they have. An
-- index that has lost it has it again.
local function relabel(session)
  session.version, session.added = session.version + 1, 0
  redis.call('HSET', head, 'version', session.version)
  remember(session.version, 0)
  for i = 1, #indexes do enter(indexes[i], session.score, member, ttl) end
end

-- What was updated and then deleted is as it would be had it been deleted before.
if over then return {'NO-SESSION'} end
local session, refusal = find(caller)
if not session then return refusal or {'NO-SESSION'} end
if not repeated(session) then
  if ARGV[7] ~= '' and tonumber(ARGV[7]) ~= session.version then
    return {'CONFLICT', session.version}
  end
  if not readable() then return {'CORRUPT'} end
  if ARGV[8] == '' then
    begin_in_place(session)
    session.score = apart(session)
    for i = 1, #indexes do redis.call('ZCARD', indexes[i]) end
  else
    begin(session)
  end
  local added = 0
  if ARGV[8] ~= '' then
    redis.call('UNLINK', messages, positions, gaps)
    redis.call('HDEL', head, 'first', 'gaps')
    session.count, session.first, session.gaps = 0, 0, 0
    added = add(session, 10 + ARGV[9])
  end
  for i = 10, 9 + ARGV[9], 2 do
    if ARGV[i + 1] == '' then
      redis.call('HDEL', head, ARGV[i])
    else
      redis.call('HSET', head, ARGV[i], ARGV[i + 1])
    end
  end
  if ARGV[8] == '' then relabel(session) else finish(session, added) end
end
return state(session)
