"""An agent that remembers: what `SessionMiddleware` is made of."""
