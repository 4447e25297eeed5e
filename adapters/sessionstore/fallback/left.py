"""What waits in a fallback store, whichever processes wrote it: read, and left as it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from sessionstore.errors import CorruptMessageError
from sessionstore.fallback.adoption import JournalContent, listed, read_journal
from sessionstore.fallback.damage import read_entries
from sessionstore.fallback.entries import decode_entry
from sessionstore.fallback.journal_form import REJECTED, owner_of
from sessionstore.fallback.journal_owners import is_present
from sessionstore.fallback.pending import PendingWrite
from sessionstore.fallback.requests import send
from sessionstore.flow import play
from sessionstore.models import SessionInfo
from sessionstore.store import SessionStore

__all__ = ["LeftWrite", "left_writes", "rejected_writes"]

_UNREADABLE = CorruptMessageError.__name__


class LeftWrite(NamedTuple):
    """A write that waits in a fallback store.

    Attributes:
        write: The write. One that can't be read has a ``reason``, and no operation.
        since: When its journal was made, in UTC.
        is_owned: Whether a process that is still there replays it; the others wait for the next
            process that opens the fallback store.
    """

    write: PendingWrite
    since: datetime
    is_owned: bool


class _Journal(NamedTuple):
    info: SessionInfo
    content: JournalContent


def left_writes(store: SessionStore) -> list[LeftWrite]:
    """Read the writes that wait in a fallback store, of all processes; nothing is changed.

    Args:
        store: The fallback store, opened by itself.

    Returns:
        The writes, the oldest journals first.

    Raises:
        SessionStoreError: The store fails.
    """
    journals = sorted(_journals(store), key=lambda journal: journal.info.created_at)
    newest: dict[str, datetime] = {}
    over: set[str] = set()
    for info, content in journals:
        owner = owner_of(info)
        newest[owner] = max(info.updated_at, newest.get(owner, info.updated_at))
        over |= content.over.keys()
    there = {owner: is_present(owner, at) for owner, at in newest.items()}
    return [
        LeftWrite(write, info.created_at, there[owner_of(info)])
        for info, content in journals
        for write in _writes(info, content, over)
    ]


def rejected_writes(store: SessionStore) -> list[PendingWrite]:
    """Read the writes that a primary refused, which a fallback store keeps; nothing is changed.

    Args:
        store: The fallback store, opened by itself.

    Returns:
        The writes, with the reason of each.

    Raises:
        SessionStoreError: The store fails.
    """
    entries, _ = play(read_entries(store, REJECTED), send)
    found = []
    for entry in entries:
        try:
            found.append(decode_entry(str(entry.content)).pending())
        except CorruptMessageError:
            found.append(PendingWrite(None, f"{REJECTED}/{entry.id}", _UNREADABLE))
    return found


def _journals(store: SessionStore) -> Iterator[_Journal]:
    for info in play(listed(store), send):
        entries, gap = play(read_entries(store, info.id), send)
        yield _Journal(info, read_journal(entries, gap))


def _writes(info: SessionInfo, content: JournalContent, over: set[str]) -> Iterator[PendingWrite]:
    yield from (write.pending() for write in content.writes if write.id not in over)
    for place in content.unreadable:
        yield PendingWrite(None, f"{info.id}/{place}", _UNREADABLE, content.session_id)
