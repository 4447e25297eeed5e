-- Gives a lease back: who took it is left there, and an end that is past. Needs `lease`.
-- ARGV: 7 who took it.

local answer = first_answer()
if answer then return answer end
if not (is_held and holder == ARGV[7]) then return {'NONE'} end
return note(newest, holder, 0)
