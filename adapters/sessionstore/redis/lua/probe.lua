-- Tells which commands the user may not run: Redis does not undo a script that is refused one
-- half way.
-- KEYS: 1 is made, of a type that fits few commands, and deleted; 2 is not there. What would
-- make a key finds the first, and what would change one the second, so that each is refused or
-- does nothing. Where SET is, those that would make a key are not tried. A server that can't be
-- written to says so of each: that is for the write to tell.

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
