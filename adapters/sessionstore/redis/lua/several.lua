-- Carries out several operations on a session as one: all of them, or none. Needs `record`, and
-- each of them as a function. Tables are made where they are needed only: each costs as much as a
-- command.
-- ARGV: 1 to 4 and 6 as for a write; 5 the names of all writes, one behind the other; then of each
-- operation its script; nothing, or a plus for a write, or two for one that may have to be undone;
-- how many words it is given; and these.
-- Gives a reply for each; or the first word of one that is a refusal, and with it which one it is,
-- from 0, and that reply.

local names, writes, named = ARGV[5], nil, 1

local function is_done(name)
  local at = entry_of(writes, name)
  if not at then return false end
  local _, version = struct.unpack(ENTRY, writes, at)
  return version < 2 ^ 53  -- else it was given up
end

-- Whether this comes a second time, because its answer was lost.
local function is_repeated()
  writes = redis.pcall('GET', KEYS[5])
  if type(writes) ~= 'string' or #writes % EACH > 0 then return false end
  for i = 1, #names, 8 do
    if is_done(string.sub(names, i, i + 7)) then return true end
  end
  return false
end

-- What a write replies that found nothing to do the first time: it is in no record then.
local function idle(kind)
  if #writes < KEPT * EACH then
    if kind == 'append' then return {'NOTHING', 0} end
    if kind == 'remove' or kind == 'rewind' then return {'NOTHING', 0, '', '', '', {}} end
    if kind == 'delete' or kind == 'restore' then return {'NONE'} end
  end
  return {'UNKNOWN'}
end

-- One write knows by itself that it is repeated; a fence does not.
local repeated = (#names > 8 or #names > 0 and each.fence) and is_repeated()
local noting, undo

local function carry_out(kind, mode, from, to)
  if mode == '' then
    local reply = each[kind](KEYS, {ARGV[3], unpack(ARGV, from, to)}, redis)
    -- A lease may be lost when a write comes a second time; it was held when that was done.
    if reply[1] == 'LOST' and repeated then return {'OK'} end
    return reply
  end
  local name, again = string.sub(names, named, named + 7), ARGV[6]
  if named > 1 then again = '' end  -- if the first of the writes is not done, no other is
  named = named + 8
  if repeated and not is_done(name) then return idle(kind) end
  local args = {ARGV[1], ARGV[2], ARGV[3], ARGV[4], name, again}
  for i = from, to do args[#args + 1] = ARGV[i] end
  if repeated or mode == '+' then return each[kind](KEYS, args, redis) end
  if not noting then noting, undo = each.undo(KEYS, ARGV, redis) end
  return each[kind](KEYS, args, noting)
end

local replies, status, at = {}, 'NONE', 7
while ARGV[at] do
  local mode, last = ARGV[at + 1], at + 2 + ARGV[at + 2]
  local fine, reply = pcall(carry_out, ARGV[at], mode, at + 3, last)
  local said = fine and reply[1]
  if said ~= 'OK' and said ~= 'NOTHING' and said ~= 'NONE' then
    if undo then undo() end
    if not fine then error(reply, 0) end
    if reply.err then return reply end
    -- What was done must not be reported as refused, though its answer can't be given any more.
    if repeated or #names == 8 and is_repeated() then said = 'UNKNOWN' end
    return {said, {#replies, reply}}
  end
  if mode ~= '' and said ~= 'NONE' then status = 'OK' end
  replies[#replies + 1], at = reply, last + 1
end
return {status, replies}
