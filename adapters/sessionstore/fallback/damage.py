"""The entries of a journal that somebody else has left: all that can be read of it."""

from __future__ import annotations

from collections.abc import Callable

from sessionstore.errors import CorruptMessageError, InvalidMessageError
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.models import SessionMessage
from sessionstore.operations import GetMessages
from sessionstore.store import SessionStore

__all__ = ["read_entries"]

_PAGE = 64

_Page = Callable[[int], GetMessages]


def read_entries(
    store: SessionStore, journal: str
) -> FallbackFlow[tuple[list[SessionMessage], int | None]]:
    """Read a journal's entries, past those that can't be read.

    A store gives a range of messages or an error, so a damaged entry is come up to from both ends:
    what lies between two of them is out of reach, and stays in the journal.

    Args:
        store: The fallback store.
        journal: The journal's id there.

    Returns:
        The entries, oldest first; and how many of them come before what can't be read, or ``None``
        where these are all.

    Raises:
        SessionStoreError: The store fails.
    """
    try:
        return (yield from ask(store, _read(journal, None))), None
    except CorruptMessageError:
        pass
    front: list[SessionMessage] = []
    back: list[SessionMessage] = []
    yield from _walk(
        lambda limit: _read(journal, limit, after=str(front[-1].id) if front else ""),
        store,
        front.extend,
    )
    yield from _walk(
        lambda limit: _read(journal, limit, before=str(back[0].id) if back else None),
        store,
        lambda page: back.__setitem__(slice(0, 0), page),
    )
    known = {entry.id for entry in front}
    return [*front, *(entry for entry in back if entry.id not in known)], len(front)


def _walk(
    page: _Page, store: SessionStore, keep: Callable[[list[SessionMessage]], None]
) -> FallbackFlow[None]:
    limit = _PAGE
    while limit:
        try:
            found = yield from ask(store, page(limit))
        except (CorruptMessageError, InvalidMessageError):
            limit //= 2
            continue
        if not found:
            return
        keep(found)


def _read(
    journal: str,
    limit: int | None,
    *,
    before: str | None = None,
    after: str | None = None,
) -> GetMessages:
    return GetMessages(journal, limit, before, after)
