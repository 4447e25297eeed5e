-- Gives messages before or behind one. Needs `find`.
-- ARGV: 1 the caller; 2 the limit; 3 before which message; 4 whether the first is wanted too; 5
-- a plus and behind which message, or nothing.

local session, refusal = find(ARGV[1])
if not session then return refusal or {'NONE'} end
local limit, before, keep_first, after = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local start, stop, first, bodies, index = 0, session.count, {}, {}
if before ~= '' then
  index, refusal = place(session, before, 'NO-BEFORE')
  if not index then return refusal end
  stop = index
end
if string.sub(after, 2) ~= '' then
  index, refusal = place(session, string.sub(after, 2), 'NO-AFTER')
  if not index then return refusal end
  start = index + 1
end
if limit ~= '' and after ~= '' then
  stop = math.min(stop, start + limit)
elseif limit ~= '' then
  start = math.max(0, stop - limit)
end
if start < stop then bodies = redis.call('LRANGE', messages, start, stop - 1) end
if keep_first ~= '' and start > 0 then first = redis.call('LRANGE', messages, 0, 0) end
return {'OK', first, bodies}
