"""`Adopter`: takes over what processes that are gone have left, again and again until all is."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from sessionstore._runtime.tickets import Ticket, is_within, task_ticket
from sessionstore.errors import SessionStoreError
from sessionstore.fallback.adoption import adopt_all
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.entries import Entry, encoded_messages
from sessionstore.fallback.journal import Journal
from sessionstore.fallback.known import KnownSession
from sessionstore.fallback.requests import FallbackFlow
from sessionstore.store import SessionStore

__all__ = ["Adopter"]

_logger = logging.getLogger("sessionstore")

_AGAIN = 61.0  # seconds: by then it can be told whether others have abandoned a journal


class Adopter:
    """Takes over journals that nobody owns any more, one caller at a time.

    Args:
        journal: Takes them over.
        fallback: The store that they are in.
        cache: Shows what they hold.

    Attributes:
        looks_again_at: When to look again, of `time.monotonic`; ``None`` where there is nothing
            that can't be taken over yet.
    """

    def __init__(self, journal: Journal, fallback: SessionStore, cache: SessionCache) -> None:
        self._journal = journal
        self._fallback = fallback
        self._cache = cache
        self._held: Ticket | None = None
        self.looks_again_at: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return self.looks_again_at is not None and time.monotonic() > self.looks_again_at

    def let_go(self, call: Ticket) -> None:
        """Let another adopt, where a call that Ctrl-C broke off was at it."""
        if is_within(self._held, call):
            self._held = None

    def adopt(self) -> FallbackFlow[bool]:
        """Take over what processes that are gone have left in the fallback store.

        Returns:
            Whether nobody else is at it just now.
        """
        if self._held is not None:
            return False
        self._held, self.looks_again_at = task_ticket(), None
        whole = False
        try:
            whole = yield from adopt_all(self._journal, self._fallback, self._show)
        except SessionStoreError as error:
            _logger.warning("the fallback could not be searched for journals: %r", error)
        finally:
            self._held = None
            self.looks_again_at = None if whole else time.monotonic() + _AGAIN
        return True

    def _show(self, session_id: str, base: KnownSession | None, entries: list[Entry]) -> None:
        cache = self._cache
        if base is not None and not cache.knows(session_id):
            cache.restore(base)
        cache.pin(session_id)
        shown = False  # a session that was deleted is not in the cache, and yet is known
        for entry in entries:
            write = entry.operation
            view = cache.view(session_id, write.user_id)
            seen = view.knows(session_id) or (view is cache and shown)
            with suppress(SessionStoreError):
                view.show(write, encoded_messages(write), unseen=not seen)
                shown = shown or view is cache
