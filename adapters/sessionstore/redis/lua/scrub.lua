-- Has nobody hold the lease of a session, and forgets who did.
-- KEYS: 1 the hash of the lease.

return {'OK', redis.call('UNLINK', KEYS[1])}
