"""Renews leases while their turns run: one thread a store, as long as any turn runs there.

A thread, for async turns too: a model that blocks the event loop, or a consumer of a stream that
pauses, holds up no renewal.
"""

from __future__ import annotations

import logging
import math
import time
from threading import Condition, RLock, Thread
from typing import Protocol
from weakref import WeakValueDictionary, ref

from sessionstore import SessionStore
from sessionstore.integration import at_fork

__all__ = ["Renewable", "Renewer", "renewer_of"]

_logger = logging.getLogger("sessionstore")
_LONGEST_WAIT = 60.0  # seconds: then it is seen which turns were dropped


class Renewable(Protocol):
    """A lease that is to be renewed.

    Attributes:
        due: When, by `time.monotonic`; infinity for never again.
    """

    due: float

    def renew_when_due(self) -> None:
        """Renew it, and say when to do it next; no error of a store is raised."""


class Renewer:
    """Renews the leases of the turns of one store.

    It keeps none of them alive: one whose turn was dropped is renewed no more.
    """

    def __init__(self, store: SessionStore) -> None:
        """Begin with none.

        Args:
            store: Whose leases they are; kept, so that no other store takes its place.
        """
        self._store = store
        self._changed = Condition()
        self._leases: dict[int, ref[Renewable]] = {}
        self._thread: Thread | None = None
        self._wakes = math.inf

    def add(self, lease: Renewable) -> None:
        """Renew a lease from now on.

        Args:
            lease: The lease.
        """
        with self._changed:
            self._leases[id(lease)] = ref(lease)
            if self._thread is None:
                self._start()
            elif lease.due < self._wakes:
                self._changed.notify()

    def drop(self, lease: Renewable) -> None:
        """Renew a lease no more.

        Args:
            lease: The lease.
        """
        with self._changed:
            self._leases.pop(id(lease), None)
            if not self._leases:
                self._changed.notify()

    def _start(self) -> None:
        thread = Thread(target=self._work, name="sessionstore-renewals", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter ends, or the system has no thread left
            _logger.warning("leases can't be renewed, and run out by themselves: %s", error)
        else:
            self._thread = thread

    def _work(self) -> None:
        while self._wait():
            for key in list(self._leases):
                self._renew(key)

    def _wait(self) -> bool:
        """Wait until a lease is due; tell whether there are any."""
        with self._changed:
            while True:
                self._wakes = self._first_due()
                if not self._leases:
                    self._thread = None
                    return False
                left = self._wakes - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(min(left, _LONGEST_WAIT))

    def _first_due(self) -> float:
        due = math.inf
        for key, kept in list(self._leases.items()):
            lease = kept()
            if lease is None:
                self._leases.pop(key, None)
            else:
                due = min(due, lease.due)
        return due

    def _renew(self, key: int) -> None:
        kept = self._leases.get(key)
        lease = kept() if kept else None
        if lease is None or lease.due > time.monotonic():
            return
        try:
            lease.renew_when_due()
        except Exception:
            lease.due = math.inf
            _logger.exception("a lease can't be renewed, and runs out by itself")


class _Renewers:
    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Forget all: a forked child has none of the parent's threads, and leaves it its leases."""
        self.lock = RLock()
        self.by_store: WeakValueDictionary[int, Renewer] = WeakValueDictionary()


_all = _Renewers()
at_fork(in_child=_all.start_over)


def renewer_of(store: SessionStore) -> Renewer:
    """Give what renews the leases of a store in this process.

    Args:
        store: The store.

    Returns:
        The same for all who ask, as long as one of them keeps it.
    """
    with _all.lock:
        renewer = _all.by_store.get(id(store))
        if renewer is None:
            renewer = _all.by_store[id(store)] = Renewer(store)
        return renewer
