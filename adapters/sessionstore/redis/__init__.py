"""Sessions in Redis or Valkey."""

from sessionstore.redis.store import RedisSessionStore

__all__ = ["RedisSessionStore"]
