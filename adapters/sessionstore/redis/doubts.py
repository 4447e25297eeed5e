"""The writes of this process of which nobody knows whether they will still take effect.

The answer to a write may be lost while the write itself is on its way: in a server that hangs, in a
proxy, in the buffers of a connection that was given up. Each write has a name. Before this process
asks anything else about that session, it has the server note those names as done, so that what
arrives later finds its own name and does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import filterfalse

from sessionstore._runtime.forks import at_fork
from sessionstore.errors import StoreConnectionError, StoreReadOnlyError, StoreTimeoutError

__all__ = ["DOUBTS", "Doubts", "Place", "may_still_arrive"]

Place = tuple[str, bytes]
"""Where a Redis is, and the key of a session's newest writes in it."""

_MOST_PLACES = 1000
_MOST_NAMES = 64  # of one session: as many as the server remembers


class Doubts:
    """Names of writes whose outcome is not known, by the session that they are of.

    Attributes:
        names: All there are.
    """

    def __init__(self) -> None:
        """Doubt nothing yet."""
        self.renew()
        at_fork(in_child=self.renew)

    def renew(self) -> None:
        """Start over: another thread may have held the lock as this process was forked."""
        self._lock = threading.RLock()  # which a signal's handler may come to in mid-work
        self.names: dict[Place, list[bytes]] = {}
        self._newest = threading.local()

    def note(self, place: Place, name: bytes) -> None:
        """Keep a name until `settle`.

        Args:
            place: Whose write it is.
            name: The write's.
        """
        with self._lock:
            names = self.names.pop(place, [])
            self.names[place] = [*names, name][-_MOST_NAMES:]
            if len(self.names) > _MOST_PLACES:
                del self.names[next(iter(self.names))]
        self._newest.place = place

    def newest(self) -> Place | None:
        """Give the place of what this thread has noted last, once."""
        place: Place | None = self._newest.__dict__.pop("place", None)
        return place

    def of(self, where: str, keys: Iterable[bytes] | None) -> list[tuple[Place, list[bytes]]]:
        """Give what is in doubt.

        Args:
            where: In which Redis.
            keys: Of these sessions; ``None`` for all.
        """
        if not self.names:
            return []
        # Within a comprehension, Python 3.13.0 leaves a `with` without its end on Ctrl-C.
        with self._lock:
            names = dict(self.names)
        if keys is not None:
            places = [(where, key) for key in keys]
        else:
            places = [place for place in names if place[0] == where]
        return [(place, names[place]) for place in places if place in names]

    def settle(self, place: Place, names: Iterable[bytes]) -> None:
        """Forget names that the server has noted.

        Args:
            place: Whose writes they are.
            names: The writes'.
        """
        noted = set(names)
        with self._lock:
            kept = list(filterfalse(noted.__contains__, self.names.get(place, ())))
            if kept:
                self.names[place] = kept
            else:
                self.names.pop(place, None)


DOUBTS = Doubts()
"""Those of all stores of this process: they may be of the same session."""


def may_still_arrive(error: BaseException) -> bool:
    """Tell whether a write that ended so may still arrive, or has: nobody was answered."""
    if isinstance(error, StoreReadOnlyError):
        return False
    return isinstance(error, (StoreTimeoutError, StoreConnectionError)) or not isinstance(
        error, Exception
    )
