"""The Lua scripts of `RedisSessionStore`: each operation is one, so that it is atomic.

A session is three keys with one hash tag, and so in one slot: a hash with its head, a list of its
messages, and a hash from each message's id to its position in that list. JSON is never rewritten
here: Lua's would bring numbers and empty lists back as something else.

An index is a sorted set of ``id/agent/user`` by last activity, each part percent-encoded. On one
machine the same script writes it; under Cluster it lives in another slot, and has its own scripts.

Every script reads all that it depends on before it writes: Redis does not undo a script that fails.
"""

from __future__ import annotations

from hashlib import sha1
from typing import NamedTuple

__all__ = [
    "APPEND",
    "CREATE",
    "DELETE",
    "DROP",
    "GET",
    "LIST",
    "OLDEST",
    "PAGE",
    "PEEK",
    "PING",
    "PRUNE",
    "READ",
    "REPLACE",
    "TOUCH",
    "UPDATE",
    "Script",
]


class Script(NamedTuple):
    """A script's text, and the hash that it is called by."""

    text: bytes
    sha: bytes


def _script(*parts: str) -> Script:
    text = "\n".join(parts).encode()
    return Script(text, sha1(text).hexdigest().encode())  # noqa: S324 - Redis's own choice


# Gives the session, nil where there is none, or a refusal as the second value.
_FIND = """
local head, messages, positions = KEYS[1], KEYS[2], KEYS[3]

-- Below this, a Lua number is exact.
local LARGEST = 2 ^ 53

local function whole(text)
  local number = text and string.find(text, '^%d+$') and tonumber(text)
  return number and number < LARGEST and number
end

local function coded(text) return text and string.find(text, '^[%w%%._~-]*$') end

local function find(user, damaged_too)
  local found = redis.call('HMGET', head, 'agent', 'user', 'created', 'updated', 'version',
    'count', 'last')
  local listed, placed = redis.call('LLEN', messages), redis.call('HLEN', positions)
  if not found[1] then
    return nil, nil, listed + placed > 0
  end
  local session = {agent = found[1], user = found[2], created = found[3], last = found[7],
    updated = whole(found[4]), version = whole(found[5]), count = whole(found[6])}
  local sound = coded(session.agent) and coded(session.user) and whole(session.created)
    and session.updated and session.version and session.last
    and session.count == listed and listed == placed
  if not (sound or damaged_too) then return nil, {'CORRUPT'} end
  if user ~= '' and session.user and session.user ~= '' and session.user ~= user then
    return nil, {'ACCESS'}
  end
  return session
end
"""

_GET = """
local session, refusal = find(ARGV[1])
if not session then return refusal or {'NONE'} end
local bodies = {}
if ARGV[2] == '' then
  bodies = redis.call('LRANGE', messages, 0, -1)
elseif ARGV[2] ~= '0' then
  bodies = redis.call('LRANGE', messages, '-' .. ARGV[2], -1)
end
return {'OK', redis.call('HGETALL', head), bodies}
"""

_READ = """
local session, refusal = find(ARGV[1])
if not session then return refusal or {'NONE'} end
local limit, before, keep_first = ARGV[2], ARGV[3], ARGV[4]
local start, stop, first, bodies = 0, session.count, {}, {}
if before ~= '' then
  local position = redis.call('HGET', positions, before)
  if not position then return {'NO-BEFORE'} end
  stop = tonumber(position)
  if not stop then return {'CORRUPT'} end
end
if limit ~= '' then start = math.max(0, stop - tonumber(limit)) end
if start < stop then bodies = redis.call('LRANGE', messages, start, stop - 1) end
if keep_first ~= '' and start > 0 then first = redis.call('LRANGE', messages, 0, 0) end
return {'OK', first, bodies}
"""

# What every write shares. ARGV: 1 a plus and the prefix, or nothing where the index is in other
# slots; 2 the session's encoded id; 3 the caller; 4 the TTL in milliseconds; 5 a name of 8 bytes
# for this write, by which it is known when it comes a second time because its answer was lost;
# 6 whether this is such a second time. The head's `last` holds the names of the newest writes, the
# newest first, each with how many messages it added: one more is one version more.
_WRITE = (
    _FIND
    + """
local prefix, id, caller = string.sub(ARGV[1], 2), ARGV[2], ARGV[3]
local ttl, write, again = ARGV[4], ARGV[5], ARGV[6] ~= ''
local NAME, KEPT, EACH = 8, 16, 15
local indexes, member, now

-- Whether this write was done already, with others after it or not: then the session is given the
-- version that it had, by which those others are a conflict. Also writes again what is there, for a
-- WAIT to wait for.
local function repeated(session)
  if not session then return false end
  for i = 0, KEPT - 1 do
    local at = i * EACH
    if string.sub(session.last, at + 1, at + NAME) == write then
      redis.call('HSET', head, 'last', session.last)
      session.added = tonumber(string.sub(session.last, at + NAME + 1, at + EACH))
      session.version = session.version - i
      return true
    end
  end
  return false
end

local function receipt(session)
  return {'OK', session.added, session.agent, session.user,
    string.format('%.0f', session.updated)}
end

local function state(session)
  local reply, fields = receipt(session), redis.call('HGETALL', head)
  for i = 1, #fields, 2 do
    if fields[i] == 'version' then fields[i + 1] = string.format('%.0f', session.version) end
  end
  reply[6] = fields
  return reply
end

-- Reads what the write depends on: after this come writes only.
local function begin(session)
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  session.updated = math.max(now, session.updated + 1)
  indexes, member = {}, id .. '/' .. session.agent .. '/' .. session.user
  if ARGV[1] ~= '' then
    indexes[1] = prefix .. '{:all}'
    indexes[2] = prefix .. '{:agent:' .. session.agent .. '}'
    if session.user ~= '' then indexes[3] = prefix .. '{:user:' .. session.user .. '}' end
    -- No two activities are the same, so that a page of the index ends between two sessions.
    -- An activity that is no time of ours must not spread.
    local newest = redis.call('ZREVRANGEBYSCORE', indexes[1], string.format('%.0f', LARGEST),
      '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if newest[2] then session.updated = math.max(session.updated, tonumber(newest[2]) + 1) end
    for i = 2, #indexes do redis.call('ZCARD', indexes[i]) end
  end
end

local function add(session, from)
  local before, batch = session.count, {}
  for i = from, #ARGV, 2 do
    if redis.call('HSETNX', positions, ARGV[i], session.count) == 1 then
      session.count = session.count + 1
      batch[#batch + 1] = ARGV[i + 1]
      if #batch == 1000 then
        redis.call('RPUSH', messages, unpack(batch))
        batch = {}
      end
    end
  end
  if #batch > 0 then redis.call('RPUSH', messages, unpack(batch)) end
  return session.count - before
end

local function expire()
  if ttl ~= '' then
    local at = string.format('%.0f', math.floor(now / 1000) + tonumber(ttl))
    for i = 1, 3 do redis.call('PEXPIREAT', KEYS[i], at) end
    return
  end
  -- A key made just now must not outlive a head that expires; a second later is soon enough.
  local left = redis.call('PTTL', head)
  if left < 0 then return end
  for i = 2, 3 do
    if redis.call('PTTL', KEYS[i]) == -1 then redis.call('PEXPIRE', KEYS[i], left + 1000) end
  end
end

local function finish(session, added)
  session.version, session.added = session.version + 1, added
  local named = write .. string.format('%07d', added)
  session.last = named .. string.sub(session.last, 1, (KEPT - 1) * EACH)
  redis.call('HSET', head, 'agent', session.agent, 'user', session.user,
    'created', session.created, 'updated', string.format('%.0f', session.updated),
    'version', session.version, 'count', session.count, 'last', session.last)
  expire()
  for i = 1, #indexes do redis.call('ZADD', indexes[i], session.updated, member) end
end

local function new(agent)
  local session = {agent = agent, user = caller, updated = 0, version = 0, count = 0,
    last = ''}
  begin(session)
  session.created = string.format('%.0f', session.updated)
  return session
end
"""
)

# ARGV: 7 the agent; 8 how many words of metadata follow, as name and value; then id and message.
_CREATE = """
local session, refusal, leftovers = find(caller)
if refusal then return refusal end
if not repeated(session) then
  if session then return {'EXISTS'} end
  if again then return {'UNKNOWN'} end
  session = new(ARGV[7])
  if leftovers then redis.call('UNLINK', messages, positions) end
  local added = add(session, 9 + ARGV[8])
  for i = 9, 8 + ARGV[8], 2 do redis.call('HSET', head, ARGV[i], ARGV[i + 1]) end
  finish(session, added)
end
return state(session)
"""

# ARGV: 7 the agent, if this makes the session; 8 the expected version; then id and message.
_APPEND = """
local session, refusal, leftovers = find(caller)
if refusal then return refusal end
if repeated(session) then return receipt(session) end
local version = session and session.version or 0
if ARGV[8] ~= '' and tonumber(ARGV[8]) ~= version then return {'CONFLICT', version} end
if #ARGV < 9 then return {'NOTHING'} end
if again and not session then return {'UNKNOWN'} end
local updated = session and string.format('%.0f', session.updated)
if session then begin(session) else session = new(ARGV[7]) end
if leftovers then redis.call('UNLINK', messages, positions) end
local added = add(session, 9)
if added == 0 then
  redis.call('HSET', head, 'last', session.last)
  return {'NOTHING', 0, session.agent, session.user, updated}
end
finish(session, added)
return receipt(session)
"""

# ARGV: 7 the message's id; 8 the message.
_REPLACE = """
local session, refusal = find(caller)
if not session then return refusal or {again and 'UNKNOWN' or 'NO-SESSION'} end
if repeated(session) then return receipt(session) end
local position = redis.call('HGET', positions, ARGV[7])
if not position then return {'NO-MESSAGE'} end
if not tonumber(position) or tonumber(position) >= session.count then return {'CORRUPT'} end
begin(session)
redis.call('LSET', messages, position, ARGV[8])
finish(session, 0)
return receipt(session)
"""

# ARGV: 7 the expected version; 8 whether the messages are replaced; 9 how many words of metadata
# follow, as name and value, with an empty value for a name to remove; then id and message.
_UPDATE = """
-- Whether the metadata that stays can be read: what can't must be told before the update is done.
local function readable()
  local given = {}
  for i = 10, 9 + ARGV[9], 2 do given[ARGV[i]] = true end
  local fields = redis.call('HGETALL', head)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 1) == ':' and not given[fields[i]] then
      local fine, why = pcall(cjson.decode, '[' .. fields[i + 1] .. ']')
      if not fine and not string.find(tostring(why), 'nested') then return false end
    end
  end
  return true
end

local session, refusal = find(caller)
if not session then return refusal or {again and 'UNKNOWN' or 'NO-SESSION'} end
if not repeated(session) then
  if ARGV[7] ~= '' and tonumber(ARGV[7]) ~= session.version then
    return {'CONFLICT', session.version}
  end
  if not readable() then return {'CORRUPT'} end
  begin(session)
  local added = 0
  if ARGV[8] ~= '' then
    redis.call('UNLINK', messages, positions)
    session.count = 0
    added = add(session, 10 + ARGV[9])
  end
  for i = 10, 9 + ARGV[9], 2 do
    if ARGV[i + 1] == '' then
      redis.call('HDEL', head, ARGV[i])
    else
      redis.call('HSET', head, ARGV[i], ARGV[i + 1])
    end
  end
  finish(session, added)
end
return state(session)
"""

_DELETE = """
local session, refusal, leftovers = find(caller, true)
if refusal then return refusal end
if not session then
  if leftovers then redis.call('UNLINK', messages, positions) end
  return {again and 'UNKNOWN' or 'NONE'}
end
session.user, session.updated = session.user or '', session.updated or 0
local updated = session.updated
begin(session)
redis.call('UNLINK', head, messages, positions)
for i = 1, #indexes do redis.call('ZREM', indexes[i], member) end
return {'OK', 1, session.agent, session.user, string.format('%.0f', updated)}
"""

# -- The index on one machine: looks at the sessions themselves, and forgets those that are gone --

_LOOK = """
local index, prefix = KEYS[1], ARGV[1]

-- A round number may come as a power of ten.
local function plain(score) return string.format('%.0f', score) end

local function look(member)
  local id, agent, user = string.match(member, '^([^/]*)/([^/]*)/([^/]*)$')
  if not id then return {} end
  local head = redis.pcall('HGETALL', prefix .. '{' .. id .. '}:session')
  if head.err then return {} end
  local found = {}
  for i = 1, #head, 2 do found[head[i]] = head[i + 1] end
  if found.agent == agent and found.user == user then return head end
  redis.call('ZREM', prefix .. '{:all}', member)
  redis.call('ZREM', prefix .. '{:agent:' .. agent .. '}', member)
  if user ~= '' then redis.call('ZREM', prefix .. '{:user:' .. user .. '}', member) end
end
"""

# ARGV: 2 the agent asked for, where the index is not the agent's own; 3 how many sessions; 4 below
# which activity; 5 how many entries to look at: others must not wait for a long search.
_LIST = (
    _LOOK
    + """
local wanted, limit, scan = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local found, bound, last = {}, '+inf', ''
if ARGV[4] ~= '' then bound = '(' .. ARGV[4] end
while scan > 0 do
  local chunk = math.min(scan, limit - #found / 3, 1000)
  local entries = redis.call('ZREVRANGEBYSCORE', index, bound, '-inf', 'WITHSCORES',
    'LIMIT', 0, chunk)
  for i = 1, #entries, 2 do
    local head
    last = plain(entries[i + 1])
    if wanted == '' or string.find(entries[i], '/' .. wanted .. '/', 1, true) then
      head = look(entries[i])
    end
    if head and #head > 0 then
      found[#found + 1], found[#found + 2], found[#found + 3] = entries[i], last, head
    end
    bound = '(' .. last
  end
  if #entries < 2 * chunk then return {'OK', found, ''} end
  if #found == 3 * limit then break end
  scan = scan - chunk
end
return {'OK', found, last}
"""
)

# ARGV: 2 the TTL in milliseconds; 3 above which activity; 4 how many entries to look at.
_PRUNE = (
    _LOOK
    + """
local time, pruned, bound = redis.call('TIME'), 0, ARGV[3]
local oldest = string.format('%.0f', time[1] * 1000000 + time[2] - ARGV[2] * 1000)
local entries = redis.call('ZRANGEBYSCORE', index, '(' .. bound, oldest, 'WITHSCORES',
  'LIMIT', 0, ARGV[4])
for i = 1, #entries, 2 do
  if not look(entries[i]) then pruned = pruned + 1 end
  bound = plain(entries[i + 1])
end
if #entries < 2 * ARGV[4] then bound = '' end
return {'OK', pruned, bound}
"""
)

# -- The index under Cluster: each of these knows one key ------------------------------------------

_PLAIN = """
local function plain(entries)
  for i = 2, #entries, 2 do entries[i] = string.format('%.0f', entries[i]) end
  return {'OK', entries}
end
"""

# ARGV: 1 below which activity; 2 how many sessions; 3 the agent asked for, where the index is not
# the agent's own; 4 how many entries to look at for that. Gives the last activity looked at, too,
# or nothing at the end.
_PAGE = """
local bound, limit, wanted, size = '+inf', tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
if ARGV[1] ~= '' then bound = '(' .. ARGV[1] end
if wanted == '' then size = math.min(size, limit) end
local entries = redis.call('ZREVRANGEBYSCORE', KEYS[1], bound, '-inf', 'WITHSCORES',
  'LIMIT', 0, size)
local found = {}
for i = 1, #entries, 2 do
  if wanted == '' or string.find(entries[i], '/' .. wanted .. '/', 1, true) then
    local score = string.format('%.0f', entries[i + 1])
    found[#found + 1], found[#found + 2] = entries[i], score
    if #found == 2 * limit then return {'OK', found, score} end
  end
end
if #entries < 2 * size then return {'OK', found, ''} end
return {'OK', found, string.format('%.0f', entries[#entries])}
"""

# ARGV: 1 above which activity; 2 how many entries; 3 the TTL in milliseconds.
_OLDEST = (
    _PLAIN
    + """
local time = redis.call('TIME')
local bound = string.format('%.0f', time[1] * 1000000 + time[2] - ARGV[3] * 1000)
return plain(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], bound, 'WITHSCORES',
  'LIMIT', 0, ARGV[2]))
"""
)

_PEEK = """
local head = redis.pcall('HGETALL', KEYS[1])
if head.err then return {'CORRUPT'} end
return {'OK', head}
"""

# A late answer never moves a session back, and no two activities are the same.
_TOUCH = """
local score, old = tonumber(ARGV[2]), redis.call('ZSCORE', KEYS[1], ARGV[1])
if old and tonumber(old) >= score then return {'OK'} end
while redis.call('ZCOUNT', KEYS[1], score, score) > 0 do score = score + 1 end
redis.call('ZADD', KEYS[1], score, ARGV[1])
return {'OK'}
"""

# An entry that was touched since is of a session that is there again.
_DROP = """
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) > tonumber(ARGV[2]) then return {'OK', 0} end
return {'OK', redis.call('ZREM', KEYS[1], ARGV[1])}
"""

GET = _script(_FIND, _GET)
READ = _script(_FIND, _READ)
CREATE = _script(_WRITE, _CREATE)
APPEND = _script(_WRITE, _APPEND)
REPLACE = _script(_WRITE, _REPLACE)
UPDATE = _script(_WRITE, _UPDATE)
DELETE = _script(_WRITE, _DELETE)
LIST = _script(_LIST)
PRUNE = _script(_PRUNE)
PAGE = _script(_PAGE)
OLDEST = _script(_OLDEST)
PEEK = _script(_PEEK)
TOUCH = _script(_TOUCH)
DROP = _script(_DROP)
PING = _script("return {'OK', redis.call('EXISTS', KEYS[1])}")
