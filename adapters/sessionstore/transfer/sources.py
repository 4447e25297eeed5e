"""Sessions that come from somewhere, each with its messages a page at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from msgspec.structs import replace

from sessionstore.errors import InvalidMessageError, SessionStoreError
from sessionstore.models import SessionData, SessionMessage, encode_message
from sessionstore.operations import Get, GetMessages, Restore
from sessionstore.store import SessionStore
from sessionstore.transfer.answering import ChangedError, outages, require_primary
from sessionstore.transfer.requests import TransferFlow, ask

__all__ = [
    "MARK",
    "ChangedError",
    "ComingSession",
    "GivenSession",
    "StoredSession",
    "UnfinishedError",
    "require_finished",
    "session_in",
]

MARK = "sessionstore:restoring"
"""In the metadata of a session that is restored in parts, until it is whole."""

_AT_ONCE = 500  # messages that are read, and restored, in one step
_MOST = 1_000  # messages of a page
_BYTES = 2**22  # of a page, about


class UnfinishedError(SessionStoreError):
    """A session is an unfinished copy itself: nobody can tell what it lacks."""


def require_finished(session: SessionData) -> None:
    """Refuse a session that is an unfinished copy.

    Raises:
        UnfinishedError: It is one.
    """
    if MARK in session.metadata:
        raise UnfinishedError("an unfinished copy: finish it, or delete it")


class ComingSession(ABC):
    """A session on its way, from wherever.

    Args:
        head: All but its messages, with the number of those.

    Attributes:
        head: The same.
    """

    def __init__(self, head: SessionData) -> None:
        require_finished(head)
        self.head: SessionData = head

    @abstractmethod
    def next_page(self) -> TransferFlow[list[SessionMessage]]:
        """Give the messages behind those that were given, oldest first; none at the end."""

    def require_settled(self) -> TransferFlow[None]:
        """Tell whether what was given is the session as it was at one moment.

        Raises:
            ChangedError: It is not.
        """
        yield from ()


class GivenSession(ComingSession):
    """A session that is here, with all its messages.

    Raises:
        InvalidSessionError: It can't be in a store.
        InvalidMessageError: One of its messages can't be, or two of them have the same id.
    """

    def __init__(self, session: SessionData) -> None:
        checked = Restore(session).session
        if len(checked.messages) < len(session.messages):
            raise InvalidMessageError("two messages have the same id: a store keeps only the first")
        super().__init__(replace(checked, messages=[]))
        self._messages, self._given = checked.messages, 0

    def next_page(self) -> TransferFlow[list[SessionMessage]]:
        """Give some more of the messages."""
        page = _page_of(self._messages[self._given : self._given + _AT_ONCE])
        self._given += len(page)
        yield from ()
        return page


class StoredSession(ComingSession):
    """A session of a store.

    Args:
        store: The store.
        session: The session with its last messages, or all of them.
    """

    def __init__(self, store: SessionStore, session: SessionData) -> None:
        super().__init__(replace(session, messages=[]))
        self._store = store
        self._whole = len(session.messages) == session.message_count
        self._read = session.messages if self._whole else []
        self._after, self._given = "", 0
        self._limit = _AT_ONCE

    def next_page(self) -> TransferFlow[list[SessionMessage]]:
        """Read some more of the messages; those of a short session were read with it."""
        if not (self._read or self._whole or self._given >= self.head.message_count):
            yield from self._read_more()
        page = _page_of(self._read)
        self._read = self._read[len(page) :]
        return page

    def _read_more(self) -> TransferFlow[None]:
        read = GetMessages(self.head.id, self._limit, after=self._after)
        try:
            self._read = yield from ask(self._store, read)
        except InvalidMessageError:  # the last one is gone
            raise ChangedError("it was written to all the time: run this again") from None
        if self._read:
            self._after, self._given = str(self._read[-1].id), self._given + len(self._read)
            self._limit = _fitting(self._read, self._limit)

    def require_settled(self) -> TransferFlow[None]:
        """Look whether a long session was written to while it was read."""
        if self._whole:
            return
        there = yield from ask(self._store, Get(self.head.id, 0))
        if there is None or there.version != self.head.version:
            raise ChangedError("it was written to all the time: run this again")


def session_in(store: SessionStore, session_id: str) -> TransferFlow[StoredSession | None]:
    """Begin to read a session of a store; ``None`` where it is gone.

    Raises:
        StoreUnavailableError: The store does without its primary.
        ChangedError: It has done so meanwhile: begin again.
    """
    before = outages(store)
    found = yield from ask(store, Get(session_id, _AT_ONCE))
    require_primary(store, session_id, before)
    return None if found is None else StoredSession(store, found)


def _page_of(messages: list[SessionMessage]) -> list[SessionMessage]:
    """Give the first of some messages: as many as a page has place for, and at least one."""
    size = 0
    for count, message in enumerate(messages):
        size += len(encode_message(message))
        if count and size > _BYTES:
            return messages[:count]
    return messages


def _fitting(page: Sequence[SessionMessage], limit: int) -> int:
    """Give how many messages to read next: so many that they fill a page, and no more."""
    size = sum(len(encode_message(message)) for message in page) or 1
    return max(1, min(_MOST, 2 * limit, limit * _BYTES // size))
