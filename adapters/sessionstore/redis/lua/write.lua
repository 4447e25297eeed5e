-- What every write shares. Needs `record`, `find`, `forget`, `enter` and `many`.
-- ARGV: 1 a plus and the prefix, or nothing where the index is in other slots; 2 the session's
-- encoded id; 3 the caller; 4 the TTL in milliseconds; 5 a name of 8 bytes for this write, by
-- which it is known when it comes a second time because its answer was lost; 6 how many
-- microseconds ago it may have come for the first time, if the store sends it again.

local prefix, id, caller = string.sub(ARGV[1], 2), ARGV[2], ARGV[3]
local ttl, write, again = ARGV[4], ARGV[5], ARGV[6] ~= ''
local record = KEYS[5]
local life = math.min(REMEMBERED, tonumber(ttl) or REMEMBERED)
local indexes, member, now, expired = {}, nil, nil, {}

local writes = redis.pcall('GET', record) or ''
if type(writes) == 'table' then
  if not string.find(writes.err, 'WRONGTYPE', 1, true) then return writes end
  damaged, writes = true, ''
end
if #writes % EACH > 0 then writes = '' end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- What this write did, if it was done already. It is gone if the session was deleted since, or
-- even made again: then its number is not above those of all writes before.
local function recall(at)
  if not at then return nil end
  local _, version, time, added = struct.unpack(ENTRY, writes, at)
  local done = {version = version, time = time, added = added, gone = version == 0}
  for later = at + EACH, #writes, EACH do
    local _, next_version = struct.unpack(ENTRY, writes, later)
    if next_version <= version then done.gone = true end
  end
  redis.call('PEXPIRE', record, life)  -- for a WAIT to wait for
  return done
end

local done = recall(entry_of(writes, write))
-- It was given up by who sent it, and arrives too late.
if done and done.version >= LARGEST then return {'VOID'} end
local over = done and (done.gone or redis.call('EXISTS', head) == 0)

-- A write that the record does not know was not done, if the record reaches back so far.
if again and not done then
  local since = clock() - ARGV[6]
  local _, _, oldest = struct.unpack(ENTRY, writes .. string.rep('\0', EACH))
  if ARGV[6] / 1000 > REMEMBERED or (#writes >= KEPT * EACH and oldest >= since) then
    return {'UNKNOWN'}
  end
end

-- Whether this write was done already, with others after it or not: then the session is given the
-- version that it had, by which those others are a conflict.
local function repeated(session)
  if not (done and session) then return false end
  session.version, session.added = done.version, done.added
  return true
end

local function remember(version, added)
  local entry = struct.pack(ENTRY, write, version, now, added)
  if damaged then redis.call('UNLINK', record) end
  if #writes < 2 * KEPT * EACH then
    redis.call('APPEND', record, entry)
    redis.call('PEXPIRE', record, life)
  else
    redis.call('SET', record, string.sub(writes, -KEPT * EACH) .. entry, 'PX', life)
  end
end

local function receipt(session)
  return {'OK', session.added, session.agent, session.user,
    string.format('%.0f', session.updated)}
end

-- A few entries of an index whose sessions have expired. They are looked for among those without
-- activity for a TTL, and each time elsewhere: other stores may have kept some of these for longer.
local function outdated(index)
  local found, bound = {}, string.format('%.0f', now - ttl * 1000)
  local count = redis.call('ZCOUNT', index, '-inf', bound)
  if count == 0 then return found end
  local first = math.max(0, math.min(count - 3, now % count))
  for _, entry in ipairs(redis.call('ZRANGE', index, first, math.min(first + 2, count - 1))) do
    local of = string.match(entry, '^([^/]*)/[^/]*/[^/]*$')
    if of and redis.call('EXISTS', prefix .. '{' .. of .. '}:session') == 0 then
      found[#found + 1] = entry
    end
  end
  return found
end

-- Names what the session is listed in. What writes there must read it first: it may be of any type.
local function begin_in_place(session)
  now = clock()
  indexes, member = {}, id .. '/' .. session.agent .. '/' .. session.user
  if ARGV[1] == '' then return end
  indexes[1] = prefix .. '{:all}'
  indexes[2] = prefix .. '{:agent:' .. session.agent .. '}'
  if session.user ~= '' then indexes[3] = prefix .. '{:user:' .. session.user .. '}' end
end

-- Reads what the write depends on: after this come writes only.
local function begin(session)
  begin_in_place(session)
  session.updated = math.max(now, session.updated + 1)
  if ARGV[1] ~= '' then
    -- No two activities are the same, so that a page of the index ends between two sessions.
    -- An activity that is no time of ours must not spread.
    local newest = redis.call('ZRANGE', indexes[1], 0, 0, 'REV', 'WITHSCORES')
    if newest[2] and tonumber(newest[2]) >= LARGEST then
      newest = redis.call('ZREVRANGEBYSCORE', indexes[1], '(' .. string.format('%.0f', LARGEST),
        '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    end
    if newest[2] then session.updated = math.max(session.updated, tonumber(newest[2]) + 1) end
    for i = 2, #indexes do redis.call('ZCARD', indexes[i]) end
    if ttl ~= '' then expired = outdated(indexes[1]) end
  end
end

-- Gives the activity by which the indexes keep a session that does not take the newest: that of its
-- time, or the next one that no other has.
local function apart(session)
  local all, at = indexes[1], session.updated
  if not all then return nil end
  local function others(many)
    return redis.call('ZCOUNT', all, string.format('%.0f', at), string.format('%.0f', at + many - 1))
  end
  local own = tonumber(redis.call('ZSCORE', all, member) or '-1')
  if own >= at and own < at + 1000 then return string.format('%.0f', own) end
  while others(1000) >= 1000 do at = at + 1000 end
  while others(1) > 0 do at = at + 1 end
  return string.format('%.0f', at)
end

local function add(session, from)
  local batch, free = {}, session.first + session.gaps
  for i = from, #ARGV, 2 do
    if redis.call('HSETNX', positions, ARGV[i], free + session.count) == 1 then
      session.count = session.count + 1
      batch[#batch + 1] = ARGV[i + 1]
    end
  end
  many('RPUSH', messages, batch)
  return #batch
end

-- Tells whether the session was there for good before, and so its indexes have no TTL either.
local function expire(session)
  if ttl ~= '' then
    local since = math.floor((session.since or now) / 1000)
    local at = string.format('%.0f', since + tonumber(ttl))
    for i = 1, 4 do redis.call('PEXPIREAT', KEYS[i], at) end
    return
  end
  -- A key made just now must not outlive a head that expires; a second later is soon enough.
  local left = redis.call('PTTL', head)
  if left < 0 then return not session.is_new end
  for i = 2, 4 do
    if redis.call('PTTL', KEYS[i]) == -1 then redis.call('PEXPIRE', KEYS[i], left + 1000) end
  end
end

-- A plain append trusts that an index has no TTL where its session has none; all others see to it.
local function finish(session, added, is_plain)
  session.version, session.added = session.version + 1, added
  if session.is_new then
    redis.call('HSET', head, 'agent', session.agent, 'user', session.user, 'created',
      session.created)
  end
  local activity = string.format('%.0f', session.updated)
  redis.call('HSET', head, 'updated', activity, 'version', session.version, 'count', session.count)
  local is_permanent = expire(session)
  remember(session.version, added)
  for i = 1, #expired do forget(expired[i], prefix) end
  local score = session.score or activity
  for i = 1, #indexes do
    if is_permanent and is_plain then
      redis.call('ZADD', indexes[i], score, member)
    else
      enter(indexes[i], score, member, ttl)
    end
  end
end
