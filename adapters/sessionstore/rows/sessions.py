"""A session's row in an SQL table, the same in SQLite's own store and in SQLAlchemy's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sessionstore.errors import CorruptMessageError, InvalidSessionError
from sessionstore.models import (
    SessionInfo,
    SessionMessage,
    decode_metadata,
    encode_message,
    from_microseconds,
)
from sessionstore.operations import ListSessions

__all__ = [
    "LATEST",
    "NOT_REWRITTEN",
    "PRUNE_MESSAGES",
    "PRUNE_SESSIONS",
    "Readable",
    "Records",
    "Row",
    "encoded",
    "place",
    "start_of",
    "tombstone",
]

_logger = logging.getLogger("sessionstore")

PRUNE_SESSIONS, PRUNE_MESSAGES = 100, 10_000
"""How many of each are deleted in one transaction, so that no writer waits for long."""

LATEST = 253_402_300_799_999_999
"""The last microsecond of the year 9999, counted from 1970: times go no further."""

NOT_REWRITTEN = "free space of the file, and its log", 0, 0, "", "VACUUM, as with rewrite=True"
"""What a `Trace` says of an SQLite file that was not written anew."""

_EARLIEST = -62_135_596_800_000_000  # that of the year 1
_MOST = 2**62  # no version or count is larger, so that one more is still a number of SQL's
_NAMED = 10_000  # sessions are named, and then no more
_SOUND = {
    (int, str, str, owner, metadata, int, int, int, int, int)
    for owner in (str, type(None))
    for metadata in (str, bytes)
}
_LONGEST_ID = 512  # characters: a longer one is nobody's
_LARGEST = 2**63 - 1


class Row(NamedTuple):
    """What the table of sessions holds of one, its columns in their order.

    Attributes:
        session_key: The number under which its messages are kept.
        id: The session's id.
        agent_id: The agent that the conversation is with.
        user_id: The owner; ``None`` where the session is open to every caller.
        metadata: JSON.
        created_at: Microseconds since 1970.
        updated_at: Microseconds since 1970.
        version: The number of writes so far.
        message_count: How many messages the session holds.
        last_position: The last place that was given to a message; places may have gaps.
    """

    session_key: int
    id: str
    agent_id: str
    user_id: str | None
    metadata: str | bytes
    created_at: int
    updated_at: int
    version: int
    message_count: int
    last_position: int

    def __repr__(self) -> str:
        """Tell the session, its version and how much it holds: never a title."""
        return f"Row({self.id!r}, version={self.version}, messages=<{self.message_count}>)"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return [self.id, self.version, self.message_count]

    def head(self) -> dict[str, Any]:
        """Give the fields that `SessionData` and `SessionInfo` share."""
        return {
            "id": self.id,
            "agent_id": self.agent_id,
            "user_id": self.user_id,
            "metadata": self.decoded(),
            "created_at": from_microseconds(self.created_at),
            "updated_at": from_microseconds(self.updated_at),
            "version": self.version,
            "message_count": self.message_count,
        }

    def decoded(self) -> dict[str, Any]:
        """Give the metadata.

        Raises:
            CorruptMessageError: It can't be read.
        """
        why = ""
        try:
            return decode_metadata(self.metadata)
        except CorruptMessageError as error:
            why = str(error)
        raise CorruptMessageError(f"session {self.id!r}: {why}")

    def info(self, last: Sequence[SessionMessage] = ()) -> SessionInfo:
        """Give what a list shows of the session, with those of its last messages."""
        return SessionInfo(**self.head(), messages=[*last])

    def require_sound(self) -> None:
        """Refuse a row that holds what its columns can't hold; the metadata is not looked into.

        Raises:
            CorruptMessageError: It does.
        """
        if (
            tuple(map(type, self)) in _SOUND
            and _EARLIEST <= self.created_at <= LATEST
            and _EARLIEST <= self.updated_at <= LATEST
            and 0 <= self.version <= _MOST
            and 0 <= self.message_count <= _MOST
            and 0 <= self.last_position <= _MOST
        ):
            return
        raise CorruptMessageError(f"session {self.id!r} can't be read: its row is damaged")

    def cursor(self) -> str:
        """Give the cursor for the sessions after this one, as `place` reads it."""
        updated_at, session_key = self.place()
        return f"{updated_at}.{session_key}"

    def place(self) -> tuple[int, int]:
        """Give where it stands in lists; one whose time is no number stands before all others."""
        time: object = self.updated_at
        number = time if isinstance(time, (int, float)) and abs(time) <= _LARGEST else _LARGEST
        return int(number), self.session_key


class Readable:
    """What a list shows: sessions that can't be read are left out, and named in the log once."""

    def __init__(self) -> None:
        self._named: set[object] = set()

    def infos(
        self, rows: Sequence[Row], last: Callable[[Row], Sequence[SessionMessage]] | None = None
    ) -> list[SessionInfo]:
        """Give the sessions of those rows that can be read.

        Args:
            rows: The rows.
            last: Gives the last messages of each; what it raises leaves that one out.
        """
        found = []
        for row in rows:
            try:
                row.require_sound()
                found.append(row.info(last(row) if last else ()))
            except CorruptMessageError as error:
                self._name(row, str(error))
        return found

    def _name(self, row: Row, why: str) -> None:
        if row.id not in self._named and len(self._named) < _NAMED:
            self._named.add(row.id)
            _logger.warning("left out of a list of sessions: %s", why)


def tombstone(session_key: int) -> dict[str, Any]:
    """Give the columns that hide an expired session while its messages are deleted.

    It is expired for everyone, whatever their retention, and its id is free.
    """
    return {"id": f"pruned {session_key}".ljust(_LONGEST_ID + 1), "updated_at": -1}


class Records(list[tuple[str, str]]):
    """What the table of messages keeps of some: an id and a body each.

    They are in the frames of every error of a write, which tracebacks may show.
    """

    def __repr__(self) -> str:
        """Tell how many there are: never what was said."""
        return f"<{len(self)} messages>"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return [len(self)]


def encoded(messages: Sequence[SessionMessage]) -> Records:
    """Turn messages into what the table of messages keeps of each: its id and its JSON.

    Args:
        messages: Messages that have ids.

    Returns:
        An id and a body for each.

    Raises:
        InvalidMessageError: One of them can't be stored as JSON.
    """
    return Records([(str(message.id), encode_message(message).decode()) for message in messages])


def start_of(operation: ListSessions) -> tuple[int, int] | None:
    """Give the place, as `Row.place` does, behind which a page of a list begins.

    Args:
        operation: What is asked for.

    Returns:
        That of its cursor or of its latest time, whichever is further behind; ``None`` for the
        front.

    Raises:
        InvalidSessionError: The cursor is not one of ours.
    """
    places = [] if operation.cursor is None else [place(operation.cursor)]
    if operation.until is not None:
        places.append((operation.until, 0))
    return min(places, default=None)


def place(cursor: str) -> tuple[int, int]:
    """Read a cursor of `SessionStore.list_sessions`.

    Args:
        cursor: What `Row.cursor` gave.

    Returns:
        The ``updated_at`` and the ``session_key`` of the last session before it.

    Raises:
        InvalidSessionError: It is not one of ours.
    """
    try:
        # A number past what a column holds comes from no cursor of ours, and is past every session.
        updated_at, session_key = (max(0, min(int(part), _LARGEST)) for part in cursor.split("."))
    except ValueError:
        raise InvalidSessionError("cursor is not one that list_sessions gave") from None
    return updated_at, session_key
