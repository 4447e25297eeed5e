"""`ObsoleteJournals`: journals that nobody needs any more, until they are deleted."""

from __future__ import annotations

import logging
import time
from threading import RLock

from sessionstore._runtime.tickets import Ticket, is_within, task_ticket
from sessionstore.errors import SessionStoreError
from sessionstore.fallback.journal_form import DONE, JOURNALS, VOID, WRITE, ids_entry
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.operations import Append, Delete, GetMessages
from sessionstore.store import SessionStore

__all__ = ["ObsoleteJournals", "written_ids"]

_logger = logging.getLogger("sessionstore")

# In seconds. So long what failed on its way into a journal may still get there.
_LATE = 60.0
# So long after the fallback store has failed it is left alone with what can wait.
_REST = 1.0


class ObsoleteJournals:
    """Deletes journals, from the oldest on; those that a late write may still get into wait.

    Args:
        store: The fallback store.
        owner: The name of the journals' owner.
        lock: The journal's, since that adds some while it holds it: with two, a call that is
            collected in here would wait for a thread that waits for this one.
    """

    def __init__(self, store: SessionStore, owner: str, lock: RLock) -> None:
        self._store = store
        self._owner = owner
        self._lock = lock
        self._journals: dict[str, None] = {}
        # Those that what failed may still get into: until when, and what that is, until it is
        # written there that it counts for nothing.
        self._tombstones: dict[str, tuple[float, list[str]]] = {}
        # Journals that hold what can't be read, so that they stay: each with the ids of the writes
        # in it that are over, until it is written there.
        self._damaged: dict[str, list[str]] = {}
        self._sweeper: Ticket | None = None
        self._rests_until = 0.0  # the last one could not be deleted

    def __len__(self) -> int:
        """Tell how many are to be deleted."""
        return len(self._journals)

    def __contains__(self, journal: str) -> bool:
        """Tell whether a journal is one of them."""
        with self._lock:
            kinds = self._journals, self._tombstones, self._damaged
            return any(journal in kind for kind in kinds)

    @property
    def has_work(self) -> bool:
        """Whether something is to be done that nobody does just now."""
        if self._sweeper is not None or not (self._journals or self._tombstones):
            return False
        due = bool(self._journals) or self._has_ripe()
        return due and time.monotonic() >= self._rests_until

    @property
    def has_voids(self) -> bool:
        """Whether something may get into a journal that nobody was promised."""
        return any(voids for _, voids in list(self._tombstones.values()))

    def add(self, journals: list[str]) -> None:
        """Delete journals later."""
        with self._lock:
            self._journals.update(dict.fromkeys(journals))

    def add_tombstone(self, journal: str, voids: list[str]) -> None:
        """Delete a journal when what failed on its way into it can't get there any more.

        Args:
            journal: Its id.
            voids: The ids of what failed.
        """
        with self._lock:
            self._tombstones[journal] = (time.monotonic() + _LATE, voids)

    def keep_damaged(self, journal: str, over: list[str]) -> None:
        """Let a journal stay, for what can't be read in it.

        Args:
            journal: Its id.
            over: The ids of its writes that will be over when it is done with, and are not said to
                be so in it.
        """
        with self._lock:
            self._damaged[journal] = over

    def let_go(self, call: Ticket) -> None:
        """Let others sweep, where a call that Ctrl-C broke off was at it."""
        if is_within(self._sweeper, call):
            self._sweeper = None

    def sweep(self, most: int | None = None) -> FallbackFlow[None]:
        """Delete the journals that nobody needs any more. One caller at a time is at it.

        Args:
            most: At most so many; ``None`` for all.
        """
        if self._sweeper is not None:
            return
        self._sweeper = task_ticket()
        try:
            yield from self._mark_tombstones()
            # From the front: those behind it may tell that its writes are over.
            while self._journals and most != 0 and (yield from self._sweep_one()):
                most = None if most is None else most - 1
        finally:
            self._sweeper = None

    def write_voids(self) -> FallbackFlow[None]:
        """Write down what counts for nothing, where it got into a journal."""
        for journal, (_, voids) in dict(self._tombstones).items():
            if voids:
                written = yield from written_ids(self._store, journal, "")
                if not set(written).isdisjoint(voids):
                    yield from self._mark_tombstones()

    def _sweep_one(self) -> FallbackFlow[bool]:
        with self._lock:
            journal = next(iter(list(self._journals)), None)
        if journal is None:
            return False
        try:
            yield from self._clear(journal)
        except SessionStoreError as error:
            self._rest("a journal could not be deleted: %s", error)
            return False
        with self._lock:  # until now it was ours
            self._journals.pop(journal, None)
        return True

    def _clear(self, journal: str) -> FallbackFlow[None]:
        """Delete a journal; of one that is damaged, only tell that its writes are over."""
        if journal not in self._damaged:
            yield from ask(self._store, Delete(journal))
        elif over := self._damaged[journal]:
            done = Append(journal, [ids_entry(DONE, over)], JOURNALS)  # it was another's
            yield from ask(self._store, done)
            self._damaged[journal] = []

    def _mark_tombstones(self) -> FallbackFlow[None]:
        """Write down what counts for nothing in the journals that it may still get into."""
        for journal, (until, voids) in dict(self._tombstones).items():
            if voids:
                void = Append(journal, [ids_entry(VOID, voids)], JOURNALS, self._owner)
                try:
                    yield from ask(self._store, void)
                except SessionStoreError as error:
                    self._rest("a journal could not be kept up to date: %s", error)
                    return
            with self._lock:
                if journal in self._tombstones:
                    self._tombstones[journal] = (until, [])
                    if time.monotonic() >= until:
                        self._tombstones.pop(journal, None)
                        self._journals[journal] = None

    def _has_ripe(self) -> bool:
        with self._lock:
            until, voids = next(iter(list(self._tombstones.values())), (float("inf"), []))
        return bool(voids) or time.monotonic() >= until

    def _rest(self, message: str, error: SessionStoreError) -> None:
        self._rests_until = time.monotonic() + _REST
        _logger.warning(message, type(error).__name__)


def written_ids(store: SessionStore, journal: str, after: str) -> FallbackFlow[list[str]]:
    """Give the ids of a journal's writes behind one of its entries, in its order."""
    entries = yield from ask(store, GetMessages(journal, after=after))
    return [str(entry.id) for entry in entries if entry.role == WRITE]
