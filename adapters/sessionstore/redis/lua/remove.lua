-- Deletes messages. Needs `answers`.
-- ARGV: 7 the expected version; then the messages' ids. The answer is in runs of these, each the
-- number of its first and how many follow one another in the session too, so that it is short
-- where the caller named them in order.

local PIECE, FAR = 100, 2000

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
  count_gaps(session)
end

if over then return first_answer() end
local session, refusal = find(caller)
if refusal then return refusal end
if ARGV[7] ~= '' and not done and tonumber(ARGV[7]) ~= (session and session.version or 0) then
  return {'CONFLICT', session and session.version or 0}
end
if not session then return {'NONE'} end
if done then return answer_again(session) end
redis.call('LLEN', answers)
local found, why = named(session)
if not found then return why end
if #found == 0 then return answer_nothing(session) end
local runs = in_runs(found)
remove(session, found)
return answer(session, runs)
