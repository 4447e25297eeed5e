"""The Lua scripts of `RedisSessionStore`: each operation is one, so that it is atomic.

A session is a few keys with one hash tag, and so in one slot: a hash with its head, a list of its
messages, and a hash from each message's id to its position. Positions count on from the head's
`first`, so that to delete what is near either end moves no other message; what is deleted between
others leaves its position in a sorted set of gaps, which is not there while it is empty, and goes
when it has outgrown the messages: then these are numbered anew. JSON is never rewritten here: Lua's
would bring numbers and empty lists back as something else. Two more outlive the session, but for a
minute only: the record of the newest writes, by which a write that comes a second time is known,
whoever sent it again, also when the session was deleted or made anew meanwhile; and what the newest
deletes of messages have answered.

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
    "LAST",
    "LIST",
    "OLDEST",
    "PAGE",
    "PEEK",
    "PING",
    "PROBE",
    "PRUNE",
    "READ",
    "REMOVE",
    "REPLACE",
    "SETTLE",
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
local head, messages, positions, gaps = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local damaged = false

-- Below this, a Lua number is exact.
local LARGEST = 2 ^ 53

local function whole(text)
  local number = text and string.find(text, '^%d+$') and tonumber(text)
  return number and number < LARGEST and number
end

local function coded(text) return text and string.find(text, '^[%w%%._~-]*$') end

local function find(user, damaged_too)
  local found = redis.call('HMGET', head, 'agent', 'user', 'created', 'updated', 'version', 'count',
    'first', 'gaps')
  -- Before all else: who is not the owner is not told that a session is damaged, either.
  if found[1] and user ~= '' and found[2] ~= '' and found[2] ~= user then
    return nil, {'ACCESS'}
  end
  if damaged and not damaged_too then return nil, {'CORRUPT'} end
  local listed, placed = redis.call('LLEN', messages), redis.call('HLEN', positions)
  local open = redis.call('ZCARD', gaps)
  if not found[1] then
    return nil, nil, listed + placed + open > 0
  end
  local session = {agent = found[1], user = found[2], created = found[3],
    updated = whole(found[4]), version = whole(found[5]), count = whole(found[6]),
    first = whole(found[7] or '0'), gaps = whole(found[8] or '0')}
  local sound = coded(session.agent) and coded(session.user) and whole(session.created)
    and session.updated and session.version and session.count == listed and listed == placed
    and session.first and session.gaps == open
  if not (sound or damaged_too) then return nil, {'CORRUPT'} end
  return session
end

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
"""

# The end of a session, which every turn reads: nothing here needs `find`, whose functions alone
# take longer to make than this takes. It tells whether the caller may read, and whether the session
# is whole; whether its head can be read, the store tells. ARGV: 1 the caller; 2 the limit.
_END = """
if not found.agent then return {'NONE'} end
local user, limit = ARGV[1], ARGV[2]
if user ~= '' and found.user ~= '' and found.user ~= user then return {'ACCESS'} end
local listed = redis.call('LLEN', KEYS[2])
local sound = found.user and tonumber(found.count) == listed
  and listed == redis.call('HLEN', KEYS[3])
  and tonumber(found.gaps or '0') == redis.call('ZCARD', KEYS[4])
if not sound then return {'CORRUPT'} end
local bodies, start = {}, limit == '' and '0' or '-' .. limit
if limit ~= '0' then bodies = redis.call('LRANGE', KEYS[2], start, -1) end
"""

_GET = (
    """
local head, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #head, 2 do found[head[i]] = head[i + 1] end
"""
    + _END
    + """
return {'OK', head, bodies}
"""
)

# ARGV: 3 whether the first is wanted too.
_LAST = (
    """
local head = redis.call('HMGET', KEYS[1], 'agent', 'user', 'count', 'gaps')
local found = {agent = head[1], user = head[2], count = head[3], gaps = head[4]}
"""
    + _END
    + """
local first = {}
if ARGV[3] ~= '' and listed > #bodies then first = redis.call('LRANGE', KEYS[2], 0, 0) end
return {'OK', first, bodies}
"""
)

# ARGV: 1 the caller; 2 the limit; 3 before which message; 4 whether the first is wanted too;
# 5 a plus and behind which message, or nothing.
_READ = """
local session, refusal = find(ARGV[1])
if not session then return refusal or {'NONE'} end
local limit, before, keep_first, after = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local start, stop, first, bodies, index = 0, session.count, {}, {}
if before ~= '' then
  index, refusal = place(session, before, 'NO-BEFORE')
  if not index then return refusal end
  stop = index
end
if string.sub(after, 2) ~= '' then
  index, refusal = place(session, string.sub(after, 2), 'NO-AFTER')
  if not index then return refusal end
  start = index + 1
end
if limit ~= '' and after ~= '' then
  stop = math.min(stop, start + limit)
elseif limit ~= '' then
  start = math.max(0, stop - limit)
end
if start < stop then bodies = redis.call('LRANGE', messages, start, stop - 1) end
if keep_first ~= '' and start > 0 then first = redis.call('LRANGE', messages, 0, 0) end
return {'OK', first, bodies}
"""

# Needs `prefix`. Never fails: it is called after writes.
_FORGET = """
local function forget(member)
  local _, agent, user = string.match(member, '^([^/]*)/([^/]*)/([^/]*)$')
  redis.pcall('ZREM', prefix .. '{:all}', member)
  redis.pcall('ZREM', prefix .. '{:agent:' .. agent .. '}', member)
  if user ~= '' then redis.pcall('ZREM', prefix .. '{:user:' .. user .. '}', member) end
end
"""

# Needs `ttl`. An index lives as long as the session that lives longest in it, and a little longer,
# so that few writes have to say so again.
_ENTER = """
local function later() return string.format('%.0f', math.floor(ttl * 9 / 8) + 1000) end

local function enter(index, score, member)
  local left = redis.call('PTTL', index)
  redis.call('ZADD', index, score, member)
  if ttl == '' then
    if left >= 0 then redis.call('PERSIST', index) end
  elseif left == -2 or left >= 0 and left < tonumber(ttl) then
    redis.call('PEXPIRE', index, later())
  end
end
"""

# The record of a session's newest writes has the newest last, in so many bytes each: its name, the
# version that it gave the session (0: it deleted it), its time, and how many messages it added. Up
# to twice as many as are kept for sure are there, for so many milliseconds.
_RECORD = """
local KEPT, EACH, ENTRY, REMEMBERED = 64, 28, '>c8I8I8I4', 60000
"""

# What every write shares. ARGV: 1 a plus and the prefix, or nothing where the index is in other
# slots; 2 the session's encoded id; 3 the caller; 4 the TTL in milliseconds; 5 a name of 8 bytes
# for this write, by which it is known when it comes a second time because its answer was lost;
# 6 how many microseconds ago it may have come for the first time, if the store sends it again.
_WRITE = (
    _RECORD
    + _FIND
    + """
local prefix, id, caller = string.sub(ARGV[1], 2), ARGV[2], ARGV[3]
local ttl, write, again = ARGV[4], ARGV[5], ARGV[6] ~= ''
local record = KEYS[5]
local life = math.min(REMEMBERED, tonumber(ttl) or REMEMBERED)
local indexes, member, now, expired = {}, nil, nil, {}
"""
    + _FORGET
    + _ENTER
    + """

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
local function recall()
  local at = string.find(writes, write, 1, true)
  while at and at % EACH ~= 1 do at = string.find(writes, write, at + 1, true) end
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

local done = recall()
-- It was given up by who sent it, and arrives too late.
if done and done.version >= LARGEST then return {'VOID'} end
local over = done and (done.gone or redis.call('EXISTS', head) == 0)

-- A write that the record does not know was not done, if the record reaches back so far.
if again and not done then
  local since = clock() - ARGV[6]
  local _, _, oldest = struct.unpack(ENTRY, writes .. string.rep('\\0', EACH))
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

local function state(session)
  local reply, fields = receipt(session), redis.call('HGETALL', head)
  for i = 1, #fields, 2 do
    if fields[i] == 'version' then fields[i + 1] = string.format('%.0f', session.version) end
  end
  reply[6] = fields
  return reply
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

-- Reads what the write depends on: after this come writes only.
local function begin(session)
  now = clock()
  session.updated = math.max(now, session.updated + 1)
  indexes, member = {}, id .. '/' .. session.agent .. '/' .. session.user
  if ARGV[1] ~= '' then
    indexes[1] = prefix .. '{:all}'
    indexes[2] = prefix .. '{:agent:' .. session.agent .. '}'
    if session.user ~= '' then indexes[3] = prefix .. '{:user:' .. session.user .. '}' end
    -- No two activities are the same, so that a page of the index ends between two sessions.
    -- An activity that is no time of ours must not spread.
    local newest = redis.call('ZREVRANGEBYSCORE', indexes[1], '(' .. string.format('%.0f', LARGEST),
      '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if newest[2] then session.updated = math.max(session.updated, tonumber(newest[2]) + 1) end
    for i = 2, #indexes do redis.call('ZCARD', indexes[i]) end
    if ttl ~= '' then expired = outdated(indexes[1]) end
  end
end

-- Lua hands on only so many words at once. An even number of them: they may come in pairs.
local function many(command, key, words)
  for from = 1, #words, 1000 do
    redis.call(command, key, unpack(words, from, math.min(from + 999, #words)))
  end
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

local function expire()
  if ttl ~= '' then
    local at = string.format('%.0f', math.floor(now / 1000) + tonumber(ttl))
    for i = 1, 4 do redis.call('PEXPIREAT', KEYS[i], at) end
    return
  end
  -- A key made just now must not outlive a head that expires; a second later is soon enough.
  local left = redis.call('PTTL', head)
  if left < 0 then return end
  for i = 2, 4 do
    if redis.call('PTTL', KEYS[i]) == -1 then redis.call('PEXPIRE', KEYS[i], left + 1000) end
  end
end

local function finish(session, added)
  session.version, session.added = session.version + 1, added
  redis.call('HSET', head, 'agent', session.agent, 'user', session.user,
    'created', session.created, 'updated', string.format('%.0f', session.updated),
    'version', session.version, 'count', session.count)
  expire()
  remember(session.version, added)
  for i = 1, #expired do forget(expired[i]) end
  for i = 1, #indexes do enter(indexes[i], session.updated, member) end
end

local function new(agent)
  local session = {agent = agent, user = caller, updated = 0, version = 0, count = 0,
    first = 0, gaps = 0}
  begin(session)
  session.created = string.format('%.0f', session.updated)
  return session
end
"""
)

# Notes writes as given up, with a version that none can have, unless they are done. KEYS: 1 the
# record. ARGV: their names.
_SETTLE = (
    _RECORD
    + """
local record, time, fine, late = KEYS[1], redis.call('TIME'), false, {}
local writes = redis.pcall('GET', record) or ''
if type(writes) == 'table' and not string.find(writes.err, 'WRONGTYPE', 1, true) then
  return writes
end
fine = type(writes) == 'string' and #writes % EACH == 0
if not fine then writes = '' end
for _, write in ipairs(ARGV) do
  local at = string.find(writes, write, 1, true)
  while at and at % EACH ~= 1 do at = string.find(writes, write, at + 1, true) end
  if not at then
    late[#late + 1] = struct.pack(ENTRY, write, 2 ^ 53, time[1] * 1000000 + time[2], 0)
  end
end
if #late > 0 then
  if not fine then redis.call('UNLINK', record) end
  if fine and #writes < 2 * KEPT * EACH then
    redis.call('APPEND', record, table.concat(late))
  else
    redis.call('SET', record, string.sub(writes, -KEPT * EACH) .. table.concat(late))
  end
end
redis.call('PEXPIRE', record, REMEMBERED)
return {'OK', #late}
"""
)

# ARGV: 7 the agent; 8 how many words of metadata follow, as name and value; then id and message.
_CREATE = """
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
"""

# The append that a store does all day: a few messages more for a session that is as it should be
# and stays for good. It does what `_APPEND` does; what is otherwise in any way is left to that,
# before anything is written. A call costs more than what it does, so that there are few: an
# index's type is seen by the first write, and its TTL has gone with the one of the session.
# ARGV: as for `_APPEND`.
_USUAL = (
    _RECORD
    + """
local head = redis.call('HMGET', KEYS[1], 'agent', 'user', 'created', 'updated', 'version', 'count',
  'first', 'gaps')
local agent, user, caller, write, LARGEST = head[1], head[2], ARGV[3], ARGV[5], 2 ^ 53
local first, gaps = head[7] or '0', head[8] or '0'
local numbers = agent and user and head[3] and head[4] and head[5] and head[6]
  and table.concat({head[3], head[4], head[5], head[6], first, gaps}, ' ')
if numbers and ARGV[1] ~= '' and ARGV[4] == '' and ARGV[6] == '' and ARGV[8] == '' and #ARGV > 8
  and #ARGV < 100 and (caller == '' or user == '' or user == caller)
  and string.find(agent .. user, '^[%w%%._~-]*$')
  and string.find(numbers, '^%d+ %d+ %d+ %d+ %d+ %d+$') then
  local updated, version, count = tonumber(head[4]), tonumber(head[5]), tonumber(head[6])
  first, gaps = tonumber(first), tonumber(gaps)
  local writes = redis.pcall('GET', KEYS[5]) or ''
  local sound = math.max(tonumber(head[3]), updated, version, count, first, gaps) < LARGEST
    and count > 0 and count == redis.call('LLEN', KEYS[2]) and count == redis.call('HLEN', KEYS[3])
    and gaps == redis.call('ZCARD', KEYS[4]) and redis.call('PTTL', KEYS[1]) == -1
    and type(writes) == 'string' and #writes < 2 * KEPT * EACH and #writes % EACH == 0
    and not string.find(writes, write, 1, true)
  local prefix, ids, batch = string.sub(ARGV[1], 2), {}, {}
  local all = prefix .. '{:all}'
  local newest = sound and redis.call('ZRANGE', all, 0, 0, 'REV', 'WITHSCORES')[2]
  local last = tonumber(newest or '0')
  if sound and last < LARGEST then
    for i = 9, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
    local held, free, placed = redis.call('HMGET', KEYS[3], unpack(ids)), first + gaps + count, {}
    for i = 1, #ids do
      if not held[i] then
        batch[#batch + 1] = ARGV[8 + 2 * i]
        placed[#placed + 1], placed[#placed + 2] = ids[i], free + #batch - 1
      end
    end
    if #batch > 0 then
      local time, member = redis.call('TIME'), ARGV[2] .. '/' .. agent .. '/' .. user
      local now = time[1] * 1000000 + time[2]
      local activity = string.format('%.0f', math.max(now, updated + 1, last + 1))
      local entry = struct.pack(ENTRY, write, version + 1, now, #batch)
      local owned = prefix .. '{:user:' .. user .. '}'
      if user ~= '' then redis.call('ZADD', owned, activity, member) end
      redis.call('ZADD', prefix .. '{:agent:' .. agent .. '}', activity, member)
      redis.call('ZADD', all, activity, member)
      redis.call('HSET', KEYS[3], unpack(placed))
      redis.call('RPUSH', KEYS[2], unpack(batch))
      redis.call('HSET', KEYS[1], 'updated', activity, 'version', version + 1,
        'count', count + #batch)
      if writes == '' then
        redis.call('SET', KEYS[5], entry, 'PX', REMEMBERED)
      else
        redis.call('APPEND', KEYS[5], entry)
        redis.call('PEXPIRE', KEYS[5], REMEMBERED)
      end
      return {'OK', #batch, agent, user, activity}
    end
  end
end
"""
)

# ARGV: 7 the agent, if this makes the session; 8 the expected version; then id and message.
_APPEND = """
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
finish(session, added)
return receipt(session)
"""

# ARGV: 7 the message's id; 8 the message.
_REPLACE = """
if over then return {'OK', 0} end
local session, refusal = find(caller)
if not session then return refusal or {'NO-SESSION'} end
if repeated(session) then return receipt(session) end
local index, unknown = place(session, ARGV[7], 'NO-MESSAGE')
if not index then return unknown end
begin(session)
redis.call('LSET', messages, index, ARGV[8])
finish(session, 0)
return receipt(session)
"""

# ARGV: 7 the expected version; 8 whether the messages are replaced; 9 how many words of metadata
# follow, as name and value, with an empty value for a name to remove; then id and message.
_UPDATE = """
-- Whether text is UTF-8. What replaces a character is none that could make another one whole.
local function is_utf8(text)
  if not string.find(text, '[\\128-\\255]') then return true end
  for _, character in ipairs({'[\\194-\\223]@', '\\224[\\160-\\191]@', '[\\225-\\236\\238\\239]@@',
    '\\237[\\128-\\159]@', '\\240[\\144-\\191]@@', '[\\241-\\243]@@@', '\\244[\\128-\\143]@@'}) do
    text = string.gsub(text, (string.gsub(character, '@', '[\\128-\\191]')), ' ')
  end
  return not string.find(text, '[\\128-\\255]')
end

-- Whether this is one value as the store writes it. Lua's parser takes more than JSON: such as
-- words for numbers that are none, and any bytes in a text.
local function is_json(text)
  local fine, value = pcall(cjson.decode, '[' .. text .. ']')
  if not fine or #value ~= 1 or string.find(text, '[%z\\1-\\31]') or not is_utf8(text) then
    return false
  end
  local bare = string.gsub(string.gsub(text, '\\\\[^u]', ''), '\\\\u00[01]%x', '')
  if string.find(bare, '\\\\') then return false end
  for word in string.gmatch(string.gsub(bare, '"[^"]*"', ' '), '[^%[%]{}:, ]+') do
    local number = string.match(word, '^-?%d+$') or string.match(word, '^-?%d+%.%d+$')
      or string.match(word, '^-?%d+[eE][+-]?%d+$') or string.match(word, '^-?%d+%.%d+[eE][+-]?%d+$')
    if number then
      local inexact = math.abs(tonumber(number)) == math.huge
      if inexact or string.find(word, '^-?0%d') then return false end
    elseif word ~= 'true' and word ~= 'false' and word ~= 'null' then
      return false
    end
  end
  return true
end

-- Whether the metadata that stays can be read: what can't must be told before the update is done.
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

-- What was updated and then deleted is as it would be had it been deleted before.
if over then return {'NO-SESSION'} end
local session, refusal = find(caller)
if not session then return refusal or {'NO-SESSION'} end
if not repeated(session) then
  if ARGV[7] ~= '' and tonumber(ARGV[7]) ~= session.version then
    return {'CONFLICT', session.version}
  end
  if not readable() then return {'CORRUPT'} end
  begin(session)
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
  finish(session, added)
end
return state(session)
"""

# KEYS: 6 the answers to the newest such writes, newest first, each behind its write's name.
# ARGV: 7 the expected version; then the messages' ids. The answer is in runs of these, each the
# number of its first and how many follow one another in the session too, so that it is short where
# the caller named them in order.
_REMOVE = """
local answers, TOLD, PIECE, FAR = KEYS[6], 16, 100, 2000

-- What this write answered the first time. The session may be another by now, so that its entry in
-- the index is not spoken of.
local function told()
  for _, answer in ipairs(redis.call('LRANGE', answers, 0, -1)) do
    if string.sub(answer, 1, #write) == write then
      local fine, runs = pcall(cmsgpack.unpack, string.sub(answer, #write + 1))
      return fine and {'OK', 0, '', '', '', runs} or {'CORRUPT'}
    end
  end
  return {'UNKNOWN'}
end

-- Gives those messages that are there, in order.
local function named(session)
  local found = {}
  for i = 8, #ARGV do
    local index, position = place(session, ARGV[i], 'NONE')
    if index then
      found[#found + 1] = {number = i - 8, index = index, position = position}
    elseif position[1] == 'CORRUPT' then
      return nil, position
    end
  end
  table.sort(found, function(a, b) return a.index < b.index end)
  return found
end

local function in_runs(found)
  local runs = {}
  for i, each in ipairs(found) do
    if i > 1 and each.number == found[i - 1].number + 1 then
      runs[#runs] = runs[#runs] + 1
    else
      runs[#runs + 1], runs[#runs + 2] = each.number, 1
    end
  end
  return runs
end

-- Gives how many of them are the oldest of all, and how many of the others the newest.
local function at_ends(session, found)
  local old, new = 0, 0
  while old < #found and found[old + 1].index == old do old = old + 1 end
  while new < #found - old and found[#found - new].index == session.count - 1 - new do
    new = new + 1
  end
  return old, new
end

-- Gives where a gap ends that begins here: at the next message, or behind the last one before it.
local function across(session, position, step)
  while session.gaps > 0 and redis.call('ZSCORE', gaps, position) do position = position + step end
  return position
end

-- Takes messages out one by one: each costs the way to it from the nearer end.
local function pick(found, from, to, gone, left)
  for i = from, to do redis.call('LSET', messages, found[i].index - gone, write) end
  local low, high, count = found[from].index - gone, found[to].index - gone, to - from + 1
  redis.call('LREM', messages, high < left - low and count or -count, write)
end

-- Takes messages out on a way along the whole list, which costs the same however many they are.
local function sift(found, from, gone, left)
  local index = gone
  while left > 0 do
    local piece, kept = redis.call('LPOP', messages, math.min(PIECE, left)), {}
    for _, body in ipairs(piece) do
      if found[from] and found[from].index == index then
        from = from + 1
      else
        kept[#kept + 1] = body
      end
      index = index + 1
    end
    many('RPUSH', messages, kept)
    left = left - #piece
  end
end

local function take_out(found, from, to, gone, left)
  local way = 0
  for i = from, to do
    way = way + math.min(found[i].index - gone, left - 1 - found[i].index + gone)
  end
  if way > FAR * left then sift(found, from, gone, left) else pick(found, from, to, gone, left) end
end

-- Where a first message stays and those behind it go, there would be ever more gaps.
local function close_gaps(session)
  local numbered = {}
  for _, message in ipairs(redis.call('HKEYS', positions)) do
    numbered[#numbered + 1] = message
    numbered[#numbered + 1] = place(session, message) or ''
  end
  many('HSET', positions, numbered)
  redis.call('UNLINK', gaps)
  session.first, session.gaps = 0, 0
end

local function remove(session, found)
  local old, new = at_ends(session, found)
  local first, free = session.first, session.first + session.count + session.gaps
  if old > 0 then first = across(session, found[old].position + 1, 1) end
  if new > 0 then free = across(session, found[#found - new + 1].position - 1, -1) + 1 end
  begin(session)
  redis.call('LTRIM', messages, old, -1 - new)
  local last, opened, names = #found - new, {}, {}
  if last > old then take_out(found, old + 1, last, old, session.count - old - new) end
  for i = old + 1, last do
    opened[#opened + 1], opened[#opened + 2] = found[i].position, found[i].position
  end
  for i = 1, #found do names[i] = ARGV[8 + found[i].number] end
  many('ZADD', gaps, opened)
  many('HDEL', positions, names)
  redis.call('ZREMRANGEBYSCORE', gaps, '-inf', '(' .. first)
  redis.call('ZREMRANGEBYSCORE', gaps, free, '+inf')
  session.count, session.first = session.count - #found, first
  session.gaps = redis.call('ZCARD', gaps)
  if session.gaps > session.count then close_gaps(session) end
  redis.call('HSET', head, 'first', session.first, 'gaps', session.gaps)
end

if over then return told() end
local session, refusal = find(caller)
if refusal then return refusal end
if ARGV[7] ~= '' and not done and tonumber(ARGV[7]) ~= (session and session.version or 0) then
  return {'CONFLICT', session and session.version or 0}
end
if not session then return {'NONE'} end
if done then
  local reply, answer = receipt(session), told()
  reply[1], reply[2], reply[6] = answer[1], 0, answer[6]
  return reply
end
redis.call('LLEN', answers)
local found, why = named(session)
if not found then return why end
if #found == 0 then
  redis.call('HSET', head, 'count', session.count)  -- for a WAIT to wait for
  return {'NOTHING', 0, session.agent, session.user, string.format('%.0f', session.updated), {}}
end
local runs = in_runs(found)
remove(session, found)
redis.call('LPUSH', answers, write .. cmsgpack.pack(runs))
redis.call('LTRIM', answers, 0, TOLD - 1)
redis.call('PEXPIRE', answers, life)
finish(session, 0)
local reply = receipt(session)
reply[6] = runs
return reply
"""

_DELETE = """
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
for i = 1, #expired do forget(expired[i]) end
for i = 1, #indexes do redis.call('ZREM', indexes[i], member) end
return {'OK', 1, session.agent, session.user, string.format('%.0f', updated)}
"""

# -- The index on one machine: looks at the sessions themselves, and forgets those that are gone --

# A score may come as a power of ten, and one that the store did not write as a fraction.
_PLAIN = """
local function plain(score) return string.format('%.0f', math.floor(tonumber(score))) end
"""

_LOOK = (
    """
local index, prefix = KEYS[1], ARGV[1]
"""
    + _PLAIN
    + _FORGET
    + """
local function look(member)
  local id, agent, user = string.match(member, '^([^/]*)/([^/]*)/([^/]*)$')
  if not id then return {} end
  local head = redis.pcall('HGETALL', prefix .. '{' .. id .. '}:session')
  if head.err then return {} end
  local found = {}
  for i = 1, #head, 2 do found[head[i]] = head[i + 1] end
  if found.agent == agent and found.user == user then return head end
  forget(member)
end
"""
)

# ARGV: 2 the agent asked for, where the index is not the agent's own; 3 how many sessions; 4 below
# which activity; 5 how many entries to look at: others must not wait for a long search.
_LIST = (
    _LOOK
    + """
local wanted, limit, scan = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local found, bound, last = {}, string.format('%.0f', 2 ^ 53), ''
if ARGV[4] ~= '' then bound = '(' .. ARGV[4] end
while scan > 0 do
  local chunk = math.min(scan, limit - #found / 3, 1000)
  local entries = redis.call('ZREVRANGEBYSCORE', index, bound, 0, 'WITHSCORES', 'LIMIT', 0, chunk)
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

# ARGV: 1 below which activity; 2 how many sessions; 3 the agent asked for, where the index is not
# the agent's own; 4 how many entries to look at for that. Gives the last activity looked at, too,
# or nothing at the end.
_PAGE = (
    _PLAIN
    + """
local bound, limit = string.format('%.0f', 2 ^ 53), tonumber(ARGV[2])
local wanted, size = ARGV[3], tonumber(ARGV[4])
if ARGV[1] ~= '' then bound = '(' .. ARGV[1] end
if wanted == '' then size = math.min(size, limit) end
local entries = redis.call('ZREVRANGEBYSCORE', KEYS[1], bound, 0, 'WITHSCORES', 'LIMIT', 0, size)
local found = {}
for i = 1, #entries, 2 do
  if wanted == '' or string.find(entries[i], '/' .. wanted .. '/', 1, true) then
    local score = plain(entries[i + 1])
    found[#found + 1], found[#found + 2] = entries[i], score
    if #found == 2 * limit then return {'OK', found, score} end
  end
end
if #entries < 2 * size then return {'OK', found, ''} end
return {'OK', found, plain(entries[#entries])}
"""
)

# ARGV: 1 above which activity; 2 how many entries; 3 the TTL in milliseconds.
_OLDEST = (
    _PLAIN
    + """
local time = redis.call('TIME')
local bound = string.format('%.0f', time[1] * 1000000 + time[2] - ARGV[3] * 1000)
local entries = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], bound, 'WITHSCORES',
  'LIMIT', 0, ARGV[2])
for i = 2, #entries, 2 do entries[i] = plain(entries[i]) end
return {'OK', entries}
"""
)

_PEEK = """
local head = redis.pcall('HGETALL', KEYS[1])
if head.err then return {'CORRUPT'} end
return {'OK', head}
"""

# ARGV: 1 the entry; 2 its activity; 3 the TTL in milliseconds. A late answer never moves a session
# back, and no two activities are the same. When entries end is kept beside them, in the same slot,
# so that a few of those that have ended can go with each write.
_TOUCH = (
    """
local index, ends, member, score, ttl = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]), ARGV[3]
"""
    + _ENTER
    + """
local old = tonumber(redis.call('ZSCORE', index, member) or '-1')
if old >= score and old < 2 ^ 53 then return {'OK'} end
while redis.call('ZCOUNT', index, score, score) > 0 do score = score + 1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ended = redis.call('ZRANGEBYSCORE', ends, '-inf', string.format('%.0f', now), 'LIMIT', 0, 4)
for i = 1, #ended do
  redis.call('ZREM', index, ended[i])
  redis.call('ZREM', ends, ended[i])
end
if ttl == '' then
  redis.call('ZREM', ends, member)
else
  enter(ends, string.format('%.0f', now + later()), member)
end
enter(index, score, member)
return {'OK'}
"""
)

# An entry that was touched since is of a session that is there again.
_DROP = """
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) > tonumber(ARGV[2]) then return {'OK', 0} end
redis.call('ZREM', KEYS[2], ARGV[1])
return {'OK', redis.call('ZREM', KEYS[1], ARGV[1])}
"""

# KEYS: 1 is made, of a type that fits few commands, and deleted; 2 is not there. What would make a
# key finds the first, and what would change one the second, so that each is refused or does
# nothing. Gives the commands that are refused. Where SET is, those that would make a key are not
# tried. A server that can't be written to says so of each: that is for the write to tell.
_PROBE = """
local refused = {}

local function may(command, ...)
  local reply = redis.pcall(command, ...)
  local said = type(reply) == 'table' and reply.err or ''
  local no = string.find(said, ' run th', 1, true) or string.find(said, 'Unknown', 1, true)
  if no then refused[#refused + 1] = command end
  return not no
end

if may('SET', KEYS[1], '', 'PX', 1000) then
  may('APPEND', KEYS[1], '')
  may('HSET', KEYS[1], 'field', '')
  may('HSETNX', KEYS[1], 'field', '')
  may('LPUSH', KEYS[1], '')
  may('RPUSH', KEYS[1], '')
  may('ZADD', KEYS[1], 0, '')
end
may('UNLINK', KEYS[1])

may('EXISTS', KEYS[2])
may('GET', KEYS[2])
may('HDEL', KEYS[2], 'field')
may('HGET', KEYS[2], 'field')
may('HGETALL', KEYS[2])
may('HKEYS', KEYS[2])
may('HLEN', KEYS[2])
may('HMGET', KEYS[2], 'field')
may('LLEN', KEYS[2])
may('LPOP', KEYS[2])
may('LRANGE', KEYS[2], 0, 0)
may('LREM', KEYS[2], 0, '')
may('LSET', KEYS[2], 0, '')
may('LTRIM', KEYS[2], 0, 0)
may('PERSIST', KEYS[2])
may('PEXPIRE', KEYS[2], 1000)
may('PEXPIREAT', KEYS[2], 0)
may('PTTL', KEYS[2])
may('TIME')
may('ZCARD', KEYS[2])
may('ZCOUNT', KEYS[2], 0, 0)
may('ZRANGE', KEYS[2], 0, 0)
may('ZRANGEBYSCORE', KEYS[2], 0, 0)
may('ZREM', KEYS[2], '')
may('ZREMRANGEBYSCORE', KEYS[2], 0, 0)
may('ZREVRANGEBYSCORE', KEYS[2], 0, 0)
may('ZSCORE', KEYS[2], '')
return refused
"""

GET = _script(_GET)
LAST = _script(_LAST)
READ = _script(_FIND, _READ)
CREATE = _script(_WRITE, _CREATE)
APPEND = _script(_USUAL, _WRITE, _APPEND)
REPLACE = _script(_WRITE, _REPLACE)
UPDATE = _script(_WRITE, _UPDATE)
REMOVE = _script(_WRITE, _REMOVE)
DELETE = _script(_WRITE, _DELETE)
SETTLE = _script(_SETTLE)
LIST = _script(_LIST)
PRUNE = _script(_PRUNE)
PAGE = _script(_PAGE)
OLDEST = _script(_OLDEST)
PEEK = _script(_PEEK)
TOUCH = _script(_TOUCH)
DROP = _script(_DROP)
PROBE = _script(_PROBE)
PING = _script("return {'OK', redis.call('EXISTS', KEYS[1])}")
