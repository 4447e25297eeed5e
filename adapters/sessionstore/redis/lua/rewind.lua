-- Deletes all messages behind one. Needs `answers`.
-- ARGV: 7 the expected version; 8 a plus and the message, or nothing to delete all.

local PIECE = 100
local all, to = ARGV[8] == '', string.sub(ARGV[8], 2)

-- Gives what may be the id of a message that is written so: its own, or that of something in it.
local function ids_in(body)
  local found, from = {}, 1
  while true do
    local _, start = string.find(body, '"id":"', from, true)
    if not start then return found end
    local stop = start + 1
    while string.sub(body, stop, stop) ~= '"' do
      if string.sub(body, stop, stop) == '\\' then stop = stop + 1 end
      stop = string.find(body, '["\\]', stop + 1)
      if not stop then return found end
    end
    local fine, id = true, string.sub(body, start + 1, stop - 1)
    if string.find(id, '\\', 1, true) then
      fine, id = pcall(function() return cjson.decode('["' .. id .. '"]')[1] end)
    end
    if fine then found[#found + 1] = id end
    from = stop
  end
end

-- Gives the ids of what is behind a message as the messages tell them: where each of them is, tells
-- whether it is one. Nothing where one tells none.
local function told(session, index)
  local ids = {}
  for from = index + 1, session.count - 1, PIECE do
    for i, body in ipairs(redis.call('LRANGE', messages, from, from + PIECE - 1)) do
      local own
      for _, id in ipairs(ids_in(body)) do
        own = own or place(session, id) == from + i - 1 and id
      end
      if not own then return nil end
      ids[#ids + 1] = own
    end
  end
  return ids
end

-- Gives the ids of what is behind a position, on a way along all of the session's.
local function looked_up(position)
  local fields, places, at, ids = redis.call('HGETALL', positions), {}, {}, {}
  for i = 1, #fields, 2 do
    local each = whole(fields[i + 1])
    if each and each > position then places[#places + 1], at[each] = each, fields[i] end
  end
  table.sort(places)
  for i, each in ipairs(places) do ids[i] = at[each] end
  return ids
end

-- What goes that is most of a session is found in less time by a look at all of it.
local function behind(session, index, position)
  local gone = session.count - 1 - index
  local ids = 2 * gone < session.count and told(session, index) or looked_up(position)
  if #ids == gone then return ids end
end

local function rewind(session, index, position, ids)
  begin(session)
  if all then
    redis.call('UNLINK', messages, positions, gaps)
    session.first = 0
  else
    redis.call('LTRIM', messages, 0, index)
    many('HDEL', positions, ids)
    redis.call('ZREMRANGEBYSCORE', gaps, position, '+inf')
  end
  session.count = index + 1
  count_gaps(session)
end

if over then return first_answer() end
local session, refusal = find(caller)
if refusal then return refusal end
if ARGV[7] ~= '' and not done and tonumber(ARGV[7]) ~= (session and session.version or 0) then
  return {'CONFLICT', session and session.version or 0}
end
if not session then return {all and 'NONE' or 'NO-SESSION'} end
if done then return answer_again(session) end
redis.call('LLEN', answers)
local index, position = -1, session.first - 1
if not all then
  index, position = place(session, to, 'NO-MESSAGE')
  if not index then return position end
end
if index == session.count - 1 then return answer_nothing(session) end
local ids = behind(session, index, position)
if not ids then return {'CORRUPT'} end
rewind(session, index, position, ids)
return answer(session, ids)
