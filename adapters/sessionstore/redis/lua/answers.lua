-- What writes that delete messages share. Needs `write` and `place`.
-- KEYS: 6 the answers to the newest such writes, newest first, each behind its write's name.

local answers, MOST = KEYS[6], 16

-- What this write answered the first time. The session may be another by now, so that this says
-- nothing of its entry in the index.
local function first_answer()
  for _, answer in ipairs(redis.call('LRANGE', answers, 0, -1)) do
    if string.sub(answer, 1, #write) == write then
      local fine, found = pcall(cmsgpack.unpack, string.sub(answer, #write + 1))
      return fine and {'OK', 0, '', '', '', found} or {'CORRUPT'}
    end
  end
  return {'UNKNOWN'}
end

local function answer_again(session)
  local reply, answer = receipt(session), first_answer()
  reply[1], reply[2], reply[6] = answer[1], 0, answer[6]
  return reply
end

local function answer_nothing(session)
  redis.call('HSET', head, 'count', session.count)  -- for a WAIT to wait for
  return {'NOTHING', 0, session.agent, session.user, string.format('%.0f', session.updated), {}}
end

local function answer(session, found)
  redis.call('LPUSH', answers, write .. cmsgpack.pack(found))
  redis.call('LTRIM', answers, 0, MOST - 1)
  redis.call('PEXPIRE', answers, life)
  finish(session, 0)
  local reply = receipt(session)
  reply[6] = found
  return reply
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

-- Notes the gaps that are left between the messages.
local function count_gaps(session)
  session.gaps = redis.call('ZCARD', gaps)
  if session.gaps > session.count then close_gaps(session) end
  redis.call('HSET', head, 'first', session.first, 'gaps', session.gaps)
end
