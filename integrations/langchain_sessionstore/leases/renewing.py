"""Renews leases while their turns run: one thread a store, as long as any turn has one there.

A thread, for async turns too: a model that blocks the event loop, or a consumer of a stream that
pauses, holds up no renewal. It gives back the leases of turns that nobody goes on with, too: no
hook runs where an agent's stream is left between two steps, or where it has taken too many.
"""

from __future__ import annotations

import atexit
import logging
import math
import time
from collections.abc import Callable
from threading import Condition, RLock, Thread
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary, ref

from sessionstore import SessionStore
from sessionstore.integration import at_fork

__all__ = ["Renewable", "Renewer", "renewer_of"]

_logger = logging.getLogger("sessionstore")
_LONGEST_STOP = 5.0  # seconds: for a store that does not answer
_LONGEST_WAIT = 1.0  # seconds: then it is seen which turns were dropped


class Renewable(Protocol):
    """A lease that is to be renewed.

    Attributes:
        holder: Who holds it.
        due: When, by `time.monotonic`; infinity for never again.
    """

    holder: str
    due: float

    @property
    def is_in_use(self) -> bool:
        """Whether it is to be renewed now."""
        ...

    def renew_when_due(self) -> None:
        """Renew it, and say when to do it next; no error of a store is raised."""


class _Held(NamedTuple):
    lease: ref[Renewable]
    give_back: Callable[[], object] | None


class Renewer:
    """Renews the leases of the turns of one store.

    It keeps none of them alive: one whose turn was dropped is renewed no more, and given back.
    """

    def __init__(self, store: SessionStore) -> None:
        """Begin with none.

        Args:
            store: Whose leases they are; kept, so that no other store takes its place.
        """
        self._store = store
        self._changed = Condition()
        self._held: dict[str, _Held] = {}
        self._thread: Thread | None = None
        self._wakes = math.inf

    def hold(self, lease: Renewable, give_back: Callable[[], object] | None) -> None:
        """Renew a lease while it is in use.

        Args:
            lease: The lease.
            give_back: Gives it back where its turn was dropped; must not refer to the turn.
                ``None`` where a turn that is dropped may be gone on with.
        """
        with self._changed:
            self._held[lease.holder] = _Held(ref(lease), give_back)
            if self._thread is None:
                self._start()
            elif lease.due < self._wakes:
                self._changed.notify()

    def drop(self, holder: str) -> None:
        """Look after a lease no more.

        Args:
            holder: Who holds it.
        """
        with self._changed:
            self._held.pop(holder, None)
            if not self._held:
                self._changed.notify()

    def stop(self) -> None:
        """Look after no lease any more, and wait until none is being renewed."""
        with self._changed:
            self._held.clear()
            self._changed.notify()
            thread = self._thread
        if thread:
            thread.join(_LONGEST_STOP)

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
            for held in list(self._held.values()):
                self._renew(held)
            for dropped in self._dropped():
                _guarded(dropped)

    def _wait(self) -> bool:
        """Wait until a lease is due or dropped; tell whether there are any."""
        with self._changed:
            while True:
                self._wakes = self._first_due()
                if not self._held:
                    self._thread = None
                    return False
                left = self._wakes - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(min(left, _LONGEST_WAIT))

    def _first_due(self) -> float:
        due = math.inf
        for held in list(self._held.values()):
            lease = held.lease()
            if lease is None:
                return 0.0
            if lease.is_in_use:
                due = min(due, lease.due)
        return due

    def _renew(self, held: _Held) -> None:
        lease = held.lease()
        if lease is None or not lease.is_in_use or lease.due > time.monotonic():
            return
        if not _guarded(lease.renew_when_due):
            lease.due = math.inf

    def _dropped(self) -> list[Callable[[], object]]:
        """Take out the leases whose turns were dropped; return what gives them back."""
        dropped = list[Callable[[], object]]()
        with self._changed:
            for holder, held in dict(self._held).items():
                if held.lease() is None:
                    # The collector, which ends a dropped turn, may come in and drop it, too.
                    gone = self._held.pop(holder, None)
                    if gone and gone.give_back:
                        dropped.append(gone.give_back)
        return dropped


def _guarded(work: Callable[[], object]) -> bool:
    try:
        work()
    except Exception:
        _logger.exception("a lease can't be renewed or given back, and runs out by itself")
        return False
    return True


class _Renewers:
    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Forget all: a forked child has none of the parent's threads, and leaves it its leases."""
        self.lock = RLock()
        self.by_store: WeakValueDictionary[int, Renewer] = WeakValueDictionary()


_all = _Renewers()
at_fork(in_child=_all.start_over)


def _stop_all() -> None:
    for there in _all.by_store.valuerefs():
        if (renewer := there()) is not None:
            renewer.stop()


# A thread that waits as the interpreter ends would have a stream that is still open wait for ever.
atexit.register(_stop_all)


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
