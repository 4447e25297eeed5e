-- Reads the lease of a session. One that can't be read is nobody's: whoever takes it makes it anew.
-- KEYS: 7 a hash: the newest token, who has it, and until when, in microseconds of the server's
-- clock. It outlives the lease, and the session, so that tokens only grow.

local lease, time = KEYS[7], redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found = redis.pcall('HMGET', lease, 'token', 'holder', 'ends')
if found.err and not string.find(found.err, 'WRONGTYPE', 1, true) then return found end
local newest, holder, ends = found[1], found[2], found[3]

local function whole(text) return text and string.find(text, '^%d+$') and tonumber(text) end

-- Below 2^53, a Lua number is exact.
if not (holder and whole(ends) and (whole(newest) or 2 ^ 53) < 2 ^ 53) then
  newest, holder, ends = false, false, '0'
end
-- No lease lasts for two days: an end that is further ahead is of a clock that was set back since.
local is_held = tonumber(ends) > now and tonumber(ends) <= now + 172800000000
