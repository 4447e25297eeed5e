"""Sessions in memory: what `memory.py` and the cache of `fallback/` are made of."""
