-- Makes a session with times of its own, or goes on with one.
-- ARGV: 7 the agent, if this makes it; 8 the version to go on with, or nothing; 9 when it was made;
-- 10 when it was last written to; 11 how many words of metadata follow, as name and value; then id
-- and message.

local expected, time, metadata = ARGV[8], tonumber(ARGV[10]), 11 + ARGV[11]

local function has_expired()
  return ttl ~= '' and math.floor(time / 1000) + tonumber(ttl) <= math.floor(now / 1000)
end

local function take_metadata()
  local given = {}
  for i = 12, metadata, 2 do given[ARGV[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', head)) do
    if string.sub(field, 1, 1) == ':' and not given[field] then redis.call('HDEL', head, field) end
  end
  for i = 12, metadata, 2 do redis.call('HSET', head, ARGV[i], ARGV[i + 1]) end
end

if over then
  -- What was gone on with and then deleted is as it would be had it been deleted before.
  if expected ~= '' then return {'CONFLICT', 0} end
  local fields = {'agent', ARGV[7], 'user', caller, 'created', ARGV[9], 'updated', ARGV[10],
    'version', '1', 'count', string.format('%.0f', done.added)}
  for i = 12, metadata do fields[#fields + 1] = ARGV[i] end
  return {'OK', done.added, '', '', '', fields}
end
local session, refusal, leftovers = find(caller)
if refusal then return refusal end
if not repeated(session) then
  local version = session and session.version or 0
  if expected ~= '' and tonumber(expected) ~= version then return {'CONFLICT', version} end
  if session and expected == '' then return {'EXISTS'} end
  session = session or {agent = ARGV[7], user = caller, created = ARGV[9], version = 0, count = 0,
    first = 0, gaps = 0, is_new = true}
  begin_in_place(session)
  if has_expired() then return {'NONE'} end
  session.updated, session.since = time, time
  session.score = apart(session)
  for i = 2, #indexes do redis.call('ZCARD', indexes[i]) end
  if leftovers then redis.call('UNLINK', messages, positions, gaps) end
  local added = add(session, metadata + 1)
  take_metadata()
  finish(session, added)
end
return state(session)
