"""Whether what a store has answered is what its primary holds: of a fallback it may not be.

In an outage a fallback answers with what it remembers: of most sessions, that there is none. To
go on with that, in a store of which all is to be gone through, would leave them out in silence.
"""

from __future__ import annotations

from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.stats import StoreEvent
from sessionstore.store import SessionStore
from sessionstore.wrapper import unwrapped

__all__ = ["ChangedError", "outages", "require_primary"]

_OUTAGES = ("degraded", "slow_session")


class ChangedError(SessionStoreError):
    """A session is not what it was when it was begun with: it is begun with again."""


def outages(store: SessionStore) -> tuple[StoreEvent, ...]:
    """Give the outages of a store so far, to be compared later."""
    return tuple(event for event in store.stats().events if event.kind in _OUTAGES)


def require_primary(store: SessionStore, session_id: str, before: tuple[StoreEvent, ...]) -> None:
    """Refuse what was read of a session, where it may be what a fallback remembers.

    Args:
        store: The store.
        session_id: The session.
        before: What `outages` gave before it was read.

    Raises:
        StoreUnavailableError: The store does without its primary.
        ChangedError: It has, for a while or for this session.
    """
    if store.is_degraded():
        raise StoreUnavailableError("the store does without its primary: try later")
    is_clear = getattr(unwrapped(store), "is_clear", None)
    is_slow = is_clear and getattr(store.stats(), "slow_sessions", 0) and not is_clear(session_id)
    if is_slow or outages(store) != before:
        raise ChangedError("its store did not answer for it in time: run this again")
