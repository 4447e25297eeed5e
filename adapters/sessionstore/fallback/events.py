"""`Events`: the last things that happened to a fallback, for whoever looks what went on."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timezone

from sessionstore._runtime.fork_locks import fork_safe_rlock
from sessionstore._runtime.interrupts import Deferred
from sessionstore.stats import EventKind, StoreEvent

__all__ = ["Events"]

_MOST = 100
_COUNTED_TOGETHER = ("slow_session", "replayed", "rejected")


class Events:
    """The last 100 of them. What happens again and again is one, that is counted.

    So what began an outage is there still when thousands of sessions were replayed after it.
    """

    def __init__(self) -> None:
        self._lock = fork_safe_rlock()  # reentrant, as the journal's
        self._events: deque[StoreEvent] = deque(maxlen=_MOST)

    def all(self) -> tuple[StoreEvent, ...]:
        """Give them, the oldest first."""
        with Deferred(_go_on), self._lock:
            return tuple(self._events)

    def add(self, kind: EventKind, error: str = "", count: int = 1) -> None:
        """Note that something happened.

        Args:
            kind: What: see `StoreEvent`.
            error: The name of the error's class.
            count: How many sessions or writes.
        """
        now = datetime.now(timezone.utc)
        with Deferred(_go_on), self._lock:
            last = self._events[-1] if self._events else None
            if last and kind in _COUNTED_TOGETHER and (last.kind, last.error) == (kind, error):
                self._events[-1] = StoreEvent(now, kind, error, last.count + count)
            else:
                self._events.append(StoreEvent(now, kind, error, count))


def _go_on() -> None:
    """Leave nothing half noted, and no lock held: it waits for nothing."""
