-- Takes a lease. Needs `lease`.
-- ARGV: 7 who takes it; 8 for how many microseconds; 9 a plus, to take it from whoever has it.

if is_anothers() then return {'ACCESS'} end
local answer = first_answer()
if answer then return answer end
local token = newest
if not (is_held and holder == ARGV[7]) then
  if is_held and ARGV[9] == '' then return {'LEASED', string.format('%.0f', ends - now)} end
  local following = (newest or 0) + 1
  token = string.format('%.0f', math.max(now, following < 2 ^ 53 and following or 0))
end
return note(token, ARGV[7], now + ARGV[8])
