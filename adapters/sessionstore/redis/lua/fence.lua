-- Refuses who has lost the lease. Needs `held`.
-- ARGV: 1 the caller, of whom nothing is asked here; 2 the token.

return {is_held and newest == ARGV[2] and 'OK' or 'LOST'}
