-- Notes writes as given up, with a version that none can have, unless they are done.
-- KEYS: 1 the record.
-- ARGV: their names.

local record, time, fine, late = KEYS[1], redis.call('TIME'), false, {}
local writes = redis.pcall('GET', record) or ''
if type(writes) == 'table' and not string.find(writes.err, 'WRONGTYPE', 1, true) then
  return writes
end
fine = type(writes) == 'string' and #writes % EACH == 0
if not fine then writes = '' end
for _, write in ipairs(ARGV) do
  if not entry_of(writes, write) then
    late[#late + 1] = struct.pack(ENTRY, write, 2 ^ 53, time[1] * 1000000 + time[2], 0)
  end
end
if #late > 0 then
  if not fine then redis.call('UNLINK', record) end
  if fine and #writes < 2 * KEPT * EACH then
    redis.call('APPEND', record, table.concat(late))
  else
    redis.call('SET', record, string.sub(writes, -KEPT * EACH) .. table.concat(late))
  end
end
redis.call('PEXPIRE', record, REMEMBERED)
return {'OK', #late}
