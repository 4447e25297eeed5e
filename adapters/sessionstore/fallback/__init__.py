"""A store that goes on when its primary is down, and replays what was written meanwhile."""

from sessionstore.fallback.pending import FallbackStats, PendingWrite
from sessionstore.fallback.store import FallbackSessionStore

__all__ = ["FallbackSessionStore", "FallbackStats", "PendingWrite"]
