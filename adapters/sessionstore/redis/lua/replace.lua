-- Puts a message in the place of the one with its id.
-- ARGV: 7 the message's id; 8 the message.

if over then return {'OK', 0} end
local session, refusal = find(caller)
if not session then return refusal or {'NO-SESSION'} end
if repeated(session) then return receipt(session) end
local index, unknown = place(session, ARGV[7], 'NO-MESSAGE')
if not index then return unknown end
begin(session)
redis.call('LSET', messages, index, ARGV[8])
finish(session, 0)
return receipt(session)
