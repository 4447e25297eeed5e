-- Makes a session of the messages of another one, on one machine. Needs `write`, `state`, `json`, and
-- `source` as a function.
-- KEYS: 1 to 6 those of the new session; 7 to 12 those of the other one.
-- ARGV: 7 the last message to copy, or nothing for all; 8 the other session's id as JSON; then
-- metadata, as name and value, with an empty value for a name to leave out.

local at, from = ARGV[7], {KEYS[7], KEYS[8], KEYS[9], KEYS[10]}

local function quoted(text)
  return '"' .. string.gsub(text, '[%z\1-\31\\"]', function(character)
    if string.byte(character) > 31 then return '\\' .. character end
    return string.format('\\u%04x', string.byte(character))
  end) .. '"'
end

-- Gives the id of a message and its position, as the message's own text tells that.
local function told(body)
  local fine, message = pcall(cjson.decode, body)
  local id = fine and type(message) == 'table' and message.id
  if type(id) == 'string' then return id, redis.call('HGET', from[3], id) end
end

local function id_at(position, body)
  local id, placed_at = told(body)
  if placed_at == position then return id end
  local placed = redis.call('HGETALL', from[3])
  for i = 2, #placed, 2 do
    if placed[i] == position then return placed[i - 1] end
  end
end

-- Gives the metadata of the new session, or nothing where it can't be read.
local function metadata_of(message)
  local given, words, fields = {}, {}, redis.call('HGETALL', from[1])
  for i = 9, #ARGV, 2 do
    given[ARGV[i]] = true
    if ARGV[i + 1] ~= '' then words[#words + 1], words[#words + 2] = ARGV[i], ARGV[i + 1] end
  end
  given[':forked_from'] = true
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 1) == ':' and not given[fields[i]] then
      if not (is_utf8(fields[i]) and is_json(fields[i + 1])) then return nil end
      words[#words + 1], words[#words + 2] = fields[i], fields[i + 1]
    end
  end
  words[#words + 1] = ':forked_from'
  words[#words + 1] = '{"session_id":' .. ARGV[8] .. ',"message_id":'
    .. (message and quoted(message) or 'null') .. '}'
  return words
end

-- Gives the ids and positions of messages, as their own texts tell these.
local function told_of(start, stop)
  local placed, seen = {}, {}
  for i, body in ipairs(redis.call('LRANGE', from[2], start, stop)) do
    local id, position = told(body)
    if not position or seen[id] then return {} end
    seen[id], placed[2 * i - 1], placed[2 * i] = true, id, position
  end
  return placed
end

-- Gives the positions of those messages that stay, by their ids, if these are few, or else the ids
-- of the others; nothing where not all of these are among those given.
local function named(placed, count, others, free)
  local stay, leave = {}, {}
  for i = 1, #placed, 2 do
    local position = whole(placed[i + 1])
    if position and position < free then
      stay[#stay + 1], stay[#stay + 2] = placed[i], placed[i + 1]
    elseif position then
      leave[#leave + 1] = placed[i]
    end
  end
  if count * 4 < others then return #stay == 2 * count and stay or nil end
  return nil, #leave == others and leave or nil
end

-- To look at a few messages costs less than to look for them among all.
local function split(count, others, free)
  local stay, leave
  if math.min(count, others) * 16 < count + others then
    local placed = count <= others and told_of(0, count - 1) or told_of(count, -1)
    stay, leave = named(placed, count, others, free)
  end
  if stay or leave then return stay, leave end
  return named(redis.call('HGETALL', from[3]), count, others, free)
end

-- Gives the gaps before a position, as scores and members.
local function gaps_before(free)
  local below = '(' .. string.format('%.0f', free)
  local found = redis.call('ZRANGEBYSCORE', from[4], '-inf', below, 'WITHSCORES')
  for i = 1, #found, 2 do found[i], found[i + 1] = found[i + 1], found[i] end
  return found
end

-- Copies a whole key, where the user may: that takes a fraction of the time.
local function copied(key, to)
  if redis.pcall('COPY', key, to) ~= 1 then return false end
  redis.call('PERSIST', to)
  return true
end

local function copy_messages(count, others)
  if count * 8 > others and copied(from[2], messages) then
    if others > 0 then redis.call('LTRIM', messages, 0, count - 1) end
    return
  end
  for start = 0, count - 1, 1000 do
    many('RPUSH', messages, redis.call('LRANGE', from[2], start, math.min(start + 999, count - 1)))
  end
end

local function copy_positions(stay, leave)
  if stay then
    many('HSET', positions, stay)
    return
  end
  if not copied(from[3], positions) then
    many('HSET', positions, redis.call('HGETALL', from[3]))
  end
  many('HDEL', positions, leave)
end

if over then return {'UNKNOWN'} end
local session, refusal, leftovers = find(caller)
if repeated(session) then return state(session) end
local source, why, count, free = source_of(from, at)
if not source then return why end
if refusal then return {refusal[1], 'new'} end
if session then return {'EXISTS', 'new'} end
local last
if at ~= '' then
  last = at
elseif count > 0 then
  last = id_at(string.format('%.0f', free - 1), redis.call('LRANGE', from[2], -1, -1)[1])
  if not last then return {'CORRUPT'} end
end
local metadata, others, stay, leave, open = metadata_of(last), source.count - count, nil, {}, {}
if others > 0 then
  stay, leave = split(count, others, free)
  if not (stay or leave) then return {'CORRUPT'} end
end
if source.gaps > 0 then open = gaps_before(free) end
if not metadata or source.first + count + #open / 2 ~= free then return {'CORRUPT'} end
session = {agent = source.agent, user = source.user, updated = 0, version = 0, count = count,
  first = source.first, gaps = #open / 2, is_new = true}
begin(session)
session.created = string.format('%.0f', session.updated)
if leftovers then redis.call('UNLINK', messages, positions, gaps) end
if count > 0 then
  copy_messages(count, others)
  copy_positions(stay, leave)
  many('ZADD', gaps, open)
end
many('HSET', head, metadata)
if session.first + session.gaps > 0 then
  redis.call('HSET', head, 'first', string.format('%.0f', session.first), 'gaps', session.gaps)
end
finish(session, count)
return state(session)
