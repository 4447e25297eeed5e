-- The record of a session's newest writes has the newest last, in so many bytes each: its name,
-- the version that it gave the session (0: it deleted it), its time, and how many messages it
-- added. Up to twice as many as are kept for sure are there, for so many milliseconds.

local KEPT, EACH, ENTRY, REMEMBERED = 64, 28, '>c8I8I8I4', 60000

-- Where a write is in the record, if it is.
local function entry_of(writes, name)
  local at = string.find(writes, name, 1, true)
  while at and at % EACH ~= 1 do at = string.find(writes, name, at + 1, true) end
  return at
end
