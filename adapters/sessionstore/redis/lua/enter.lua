-- Puts an entry into an index. An index lives as long as the session that lives longest in it,
-- and a little longer, so that few writes have to say so again.

local function later(ttl) return string.format('%.0f', math.floor(ttl * 9 / 8) + 1000) end

local function enter(index, score, member, ttl)
  local left = redis.call('PTTL', index)
  redis.call('ZADD', index, score, member)
  if ttl == '' then
    if left >= 0 then redis.call('PERSIST', index) end
  elseif left == -2 or left >= 0 and left < tonumber(ttl) then
    redis.call('PEXPIRE', index, later(ttl))
  end
end
