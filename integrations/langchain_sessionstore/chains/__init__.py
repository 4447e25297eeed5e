"""A runnable that remembers: what `with_session_history` is made of."""
