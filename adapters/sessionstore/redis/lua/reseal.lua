-- Swaps messages, and values of metadata, that are still what they were. Nothing else changes, and
-- so it is in no record of writes: done again, it finds what it has swapped. Needs `place`.
-- ARGV: 7 whether to swap also where others differ; 8 how many words of metadata follow, as name,
-- old value and new value; then of each message its id, the old one and the new one.
-- What differs is given as it is stored, in the order of what was asked, for the caller to see
-- whether it says the same in other words. Nothing is swapped then.

local metadata, swaps, differs, known = 8 + ARGV[8], {}, false, 0

local function look(stored, i, command, key, field)
  if stored == ARGV[i + 1] then
    swaps[#swaps + 1] = {command, key, field, ARGV[i + 2]}
  elseif stored == ARGV[i + 2] then
    if again then known = known + 1 end
  elseif stored then
    differs = true
    return stored
  end
  return ''
end

local session, refusal = find(caller)
if not session then return refusal or {'NONE'} end
local found = {}
for i = 9, metadata, 3 do
  found[#found + 1] = look(redis.call('HGET', head, ARGV[i]), i, 'HSET', head, ARGV[i])
end
for i = metadata + 1, #ARGV, 3 do
  local index = place(session, ARGV[i], 'NONE')
  local stored = index and redis.call('LRANGE', messages, index, index)[1]
  found[#found + 1] = look(stored, i, 'LSET', messages, index)
end
-- A first sending that did it has left nothing to be swapped.
local is_done = known > 0 and #swaps == 0
if differs and not is_done and ARGV[7] == '' then return {'DIFFER', found} end
for _, swap in ipairs(swaps) do redis.call(unpack(swap)) end
if #swaps == 0 then redis.call('HSET', head, 'count', session.count) end  -- for a WAIT to wait for
return {'OK', #swaps + known}
