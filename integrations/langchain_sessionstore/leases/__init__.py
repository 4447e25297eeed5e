"""One turn of a session at a time, by a lease that is renewed while the turn runs."""
