-- What every change of a lease shares. Needs `record` and `held`.
-- KEYS: 1 the session's head.
-- ARGV: 1 to 6 as for a write.

local record, write, A_DAY = KEYS[5], ARGV[5], 86400000
local life = math.min(REMEMBERED, tonumber(ARGV[4]) or REMEMBERED)

local function is_anothers()
  local caller, found = ARGV[3], redis.call('HMGET', KEYS[1], 'agent', 'user')
  return found[1] and caller ~= '' and found[2] ~= '' and found[2] ~= caller
end

local function whole_record()
  local writes = redis.call('GET', record) or ''
  return #writes % EACH == 0 and writes or ''
end

-- What this answered when it came for the first time, or that it was given up before it came.
local function first_answer()
  local writes = whole_record()
  local at = entry_of(writes, write)
  if not at then return nil end
  redis.call('PEXPIRE', record, life)  -- for a WAIT to wait for
  local _, token = struct.unpack(ENTRY, writes, at)
  return token < 2 ^ 53 and {'OK', string.format('%.0f', token)} or {'VOID'}
end

-- In the record, the token stands for a version: none is so large, so that it undoes no write.
local function remember(token)
  local writes, entry = whole_record(), struct.pack(ENTRY, write, tonumber(token), now, 0)
  if #writes < 2 * KEPT * EACH then
    redis.call('APPEND', record, entry)
    redis.call('PEXPIRE', record, life)
  else
    redis.call('SET', record, string.sub(writes, -KEPT * EACH) .. entry, 'PX', life)
  end
end

-- The key is kept until a clock that was set back has passed the token, too.
local function note(token, name, until_when)
  remember(token)
  if not newest then redis.call('UNLINK', lease) end
  redis.call('HSET', lease, 'token', token, 'holder', name, 'ends',
    string.format('%.0f', until_when))
  redis.call('PEXPIREAT', lease,
    string.format('%.0f', math.floor(math.max(now, until_when, token) / 1000) + A_DAY))
  return {'OK', token}
end
