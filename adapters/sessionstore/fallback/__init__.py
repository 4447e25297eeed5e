"""A store that goes on when its primary is down, and replays what was written meanwhile."""

from sessionstore.fallback.store import FallbackSessionStore, FallbackStats
from sessionstore.fallback.writes import PendingWrite

__all__ = ["FallbackSessionStore", "FallbackStats", "PendingWrite"]
