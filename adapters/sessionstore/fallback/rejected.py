"""`RejectedWrites`: what was set aside, kept in the fallback store until somebody has looked."""

from __future__ import annotations

from collections.abc import Iterable
from threading import RLock

from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.fallback.entries import Entry, encode_entry
from sessionstore.fallback.events import Events
from sessionstore.fallback.journal_form import REJECTED, write_entry
from sessionstore.fallback.pending import PendingWrite
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.operations import Append
from sessionstore.store import SessionStore

__all__ = ["RejectedWrites"]


class RejectedWrites:
    """The writes that are not replayed, with why.

    Args:
        store: The fallback store.
        events: Is told of each.
    """

    def __init__(self, store: SessionStore, events: Events) -> None:
        self._store = store
        self._events = events
        self._lock = RLock()  # reentrant, as the journal's
        self._writes: dict[str, PendingWrite] = {}
        self.count: int = 0

    def all(self) -> list[PendingWrite]:
        """Give them."""
        with self._lock:
            return list(self._writes.values())

    def set_aside(self, entry: Entry) -> FallbackFlow[None]:
        """Keep a write that the primary refused, with the reason.

        Raises:
            SessionStoreError: The fallback store fails.
        """
        kept = write_entry(encode_entry(entry), entry.id)
        try:
            yield from ask(self._store, Append(REJECTED, [kept], REJECTED))
        except StoreUnavailableError as error:
            raise SessionStoreError(
                "a refused write can't be set aside: it keeps waiting"
            ) from error
        with self._lock:
            self.count += 1
            self._writes[entry.id] = entry.pending()
        self._events.add("rejected", entry.reason)

    def offer(self, write: PendingWrite) -> None:
        """Offer a write that stays where it is, since it can't be read."""
        with self._lock:
            is_new = write.id not in self._writes
            if is_new:
                self.count += 1
                self._writes[write.id] = write
        if is_new:
            self._events.add("rejected", write.reason)

    def forget(self, entry_ids: Iterable[str]) -> None:
        """Offer some writes no more: they were erased."""
        with self._lock:
            for entry_id in entry_ids:
                self._writes.pop(entry_id, None)

    def restore(self, writes: list[PendingWrite]) -> None:
        """Offer the writes that other processes have set aside."""
        restored = {write.id: write for write in writes}
        with self._lock:
            self._writes = restored | self._writes
