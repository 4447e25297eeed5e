-- Has a lease last longer. Needs `lease`.
-- ARGV: 7 the token; 8 for how many microseconds from now.

if is_anothers() then return {'ACCESS'} end
local answer = first_answer()
if answer then return answer end
if not (is_held and newest == ARGV[7]) then return {'LOST'} end
return note(newest, holder, now + ARGV[8])
