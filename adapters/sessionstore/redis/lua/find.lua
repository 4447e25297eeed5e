-- Reads a session's head, and where a message is. Here and below, a refusal is a reply that
-- begins with its reason.

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
  -- Before all else: to others than the owner not even damage is reported.
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
