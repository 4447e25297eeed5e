-- Gives what a script calls Redis by so that its writes can be undone, and what undoes them: Redis
-- does not undo a script that fails. It costs what the writes do, and not what the session has, but
-- where a whole key is unlinked. Needs `many`.

local undos, touched, whole, marked = {}, {}, {}, {}

local function undo(step) undos[#undos + 1] = step end

local function undo_all()
  for i = #undos, 1, -1 do undos[i]() end
end

-- Puts words in front of a list, in their order.
local function put_in_front(key, words)
  local backwards = {}
  for i = #words, 1, -1 do backwards[#backwards + 1] = words[i] end
  many('LPUSH', key, backwards)
end

local function put_scores(key, found)
  local words = {}
  for i = 1, #found, 2 do words[i], words[i + 1] = found[i + 1], found[i] end
  many('ZADD', key, words)
end

-- The first write of a key: what is not there is taken away again, whatever comes to be in it.
-- Undone last, when its content is back: its end.
local function touch(key)
  if touched[key] then return end
  touched[key] = true
  local left = redis.call('PTTL', key)
  if left == -2 then
    whole[key] = true
    undo(function() redis.call('UNLINK', key) end)
  elseif left == -1 then
    undo(function() redis.call('PERSIST', key) end)
  else
    local time = redis.call('TIME')
    local at = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + left)
    undo(function() redis.call('PEXPIREAT', key, at) end)
  end
end

local function keep_fields(key, names)
  local found = redis.call('HMGET', key, unpack(names))
  undo(function()
    local old, new = {}, {}
    for i, name in ipairs(names) do
      if found[i] then
        old[#old + 1], old[#old + 2] = name, found[i]
      else
        new[#new + 1] = name
      end
    end
    many('HDEL', key, new)
    many('HSET', key, old)
  end)
end

local function keep_scores(key, members)
  local scores = {}
  for i, member in ipairs(members) do scores[i] = redis.call('ZSCORE', key, member) end
  undo(function()
    local old, new = {}, {}
    for i, member in ipairs(members) do
      if scores[i] then
        old[#old + 1], old[#old + 2] = member, scores[i]
      else
        new[#new + 1] = member
      end
    end
    many('ZREM', key, new)
    put_scores(key, old)
  end)
end

-- What is in a key, each of one type, and how it is put back where there is nothing.
local keepers = {
  [KEYS[1]] = {function(key) return redis.call('HGETALL', key) end,
    function(key, found) many('HSET', key, found) end},
  [KEYS[2]] = {function(key) return redis.call('LRANGE', key, 0, -1) end,
    function(key, found) many('RPUSH', key, found) end},
  [KEYS[4]] = {function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end, put_scores},
  [KEYS[5]] = {function(key) return redis.call('GET', key) end,
    function(key, found) redis.call('SET', key, found) end}
}
keepers[KEYS[3]], keepers[KEYS[6]] = keepers[KEYS[1]], keepers[KEYS[2]]

-- After this, nothing that is written to the key needs to be noted.
local function keep(key)
  local get, put = unpack(keepers[key])
  local found = get(key)
  whole[key] = true
  undo(function()
    redis.call('UNLINK', key)
    put(key, found)
  end)
end

-- What stood at the ends of a list that goes to its middle.
local function keep_ends(key, start, stop)
  local size = redis.call('LLEN', key)
  if stop < 0 then stop = size + stop end
  start = math.min(start, size)
  stop = math.max(stop, start - 1)
  local front = start > 0 and redis.call('LRANGE', key, 0, start - 1) or {}
  local back = stop + 1 < size and redis.call('LRANGE', key, stop + 1, -1) or {}
  undo(function()
    put_in_front(key, front)
    many('RPUSH', key, back)
  end)
end

-- Gives words with one more in each of these places, of which the first word's is `from`.
local function spread(words, from, places, word)
  local found, at, taken = {}, {}, 0
  for _, place in ipairs(places) do at[place - from + 1] = true end
  for i = 1, #words + #places do
    if not at[i] then taken = taken + 1 end
    found[i] = at[i] and word or words[taken]
  end
  return found
end

-- Puts what was taken out of these places in again, from the nearer end. The first and the last of
-- a list are in none of them.
local function put_between(key, places, word)
  local first, last = places[1], places[#places] - #places
  if last < redis.call('LLEN', key) - first then
    local rest = redis.call('LRANGE', key, 0, last)
    redis.call('LTRIM', key, last + 1, -1)
    put_in_front(key, spread(rest, 0, places, word))
  else
    local rest = redis.call('LRANGE', key, first, -1)
    redis.call('LTRIM', key, 0, first - 1)
    many('RPUSH', key, spread(rest, first, places, word))
  end
end

local function every_second(from, words)
  local found = {}
  for i = from, #words, 2 do found[#found + 1] = words[i] end
  return found
end

local notes = {
  APPEND = keep,
  SET = keep,
  UNLINK = keep,
  PERSIST = function() end,
  PEXPIRE = function() end,
  PEXPIREAT = function() end,
  HSET = function(key, ...) keep_fields(key, every_second(1, {...})) end,
  HSETNX = function(key, field) keep_fields(key, {field}) end,
  HDEL = function(key, ...) keep_fields(key, {...}) end,
  ZADD = function(key, ...) keep_scores(key, every_second(2, {...})) end,
  ZREM = function(key, ...) keep_scores(key, {...}) end,
  ZREMRANGEBYSCORE = function(key, low, high)
    local found = redis.call('ZRANGEBYSCORE', key, low, high, 'WITHSCORES')
    undo(function() put_scores(key, found) end)
  end,
  RPUSH = function(key, ...)
    local count = select('#', ...)
    undo(function() redis.call('LTRIM', key, 0, -1 - count) end)
  end,
  LPUSH = function(key, ...)
    local count = select('#', ...)
    undo(function() redis.call('LTRIM', key, count, -1) end)
  end,
  LTRIM = keep_ends,
  LPOP = function(key, count) keep_ends(key, tonumber(count), -1) end,
  LSET = function(key, place, word)
    local old = redis.call('LRANGE', key, place, place)[1]
    undo(function() redis.call('LSET', key, place, old) end)
    marked[word] = marked[word] or {}
    table.insert(marked[word], place)
  end,
  LREM = function(key, _, word)  -- of what LSET has put into places
    local places = marked[word]
    marked[word] = nil
    undo(function() put_between(key, places, word) end)
  end
}

local function note(command, ...)
  local noted, keys = notes[command], {(...)}
  if not noted then return end
  if command == 'UNLINK' then keys = {...} end
  for _, key in ipairs(keys) do
    touch(key)
    if not whole[key] then noted(key, select(2, ...)) end
  end
end

local noting = {
  call = function(...)
    note(...)
    return redis.call(...)
  end,
  pcall = function(...)
    local fine, why = pcall(note, ...)
    if fine then return redis.pcall(...) end
    return type(why) == 'table' and why or {err = why}
  end
}

return noting, undo_all
