"""A session's messages: read, added and taken out. All within a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sessionstore.errors import CorruptMessageError, InvalidMessageError
from sessionstore.models import SessionMessage, decode_messages
from sessionstore.rows import Row
from sessionstore.sqlite.transactions import Transaction

__all__ = [
    "END",
    "START",
    "add",
    "clear",
    "first_before",
    "last_before",
    "next_after",
    "oldest_first",
    "position_of",
    "remove",
    "replace",
]

START, END = 0, 2**63 - 1
_MANY = 500  # values in one statement: SQLite takes 999, of late more
_LAST = """SELECT position, CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND position < ? ORDER BY position DESC LIMIT ?"""
_FIRST = """SELECT position, CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND position < ? ORDER BY position LIMIT 1"""
_NEXT = """SELECT position, CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND position > ? ORDER BY position LIMIT ?"""
_POSITION = "SELECT position FROM sessionstore_messages WHERE session_key = ? AND id = ?"
_ADD = """INSERT INTO sessionstore_messages (session_key, position, id, body) VALUES (?, ?, ?, ?)
    ON CONFLICT (session_key, id) DO NOTHING"""
_REPLACE = "UPDATE sessionstore_messages SET body = ? WHERE session_key = ? AND id = ?"
_NAMED = """SELECT position, id FROM sessionstore_messages
    WHERE session_key = ? AND id IN ({})"""
_REMOVE = "DELETE FROM sessionstore_messages WHERE session_key = ? AND position = ?"
_CLEAR = "DELETE FROM sessionstore_messages WHERE session_key = ?"


def last_before(transaction: Transaction, row: Row, end: int, limit: int | None) -> Any:
    """Give the last messages before a position, newest first: their positions and bodies."""
    return transaction.execute(_LAST, (row.session_key, end, _rows(limit)))


def next_after(transaction: Transaction, row: Row, start: int, limit: int | None) -> Any:
    """Give the first messages behind a position, oldest first."""
    return transaction.execute(_NEXT, (row.session_key, start, _rows(limit)))


def first_before(transaction: Transaction, row: Row, end: int) -> Any:
    """Give the session's first message, if it is before a position."""
    return transaction.execute(_FIRST, (row.session_key, end))


def position_of(transaction: Transaction, row: Row, message_id: str, way: str) -> int:
    """Give the position of a message that a caller names.

    Args:
        transaction: Within which.
        row: The session.
        message_id: The message.
        way: What is to be done from there, as an error says it.

    Raises:
        InvalidMessageError: The session has no such message.
        CorruptMessageError: Its position can't be read.
    """
    found = transaction.execute(_POSITION, (row.session_key, message_id))
    if not found:
        raise InvalidMessageError(f"the session has no message {message_id!r} to go {way}")
    return _require_position(row, found[0][0])


def oldest_first(session_id: str, rows: list[tuple[int, bytes]]) -> list[SessionMessage]:
    """Decode what was read newest first."""
    return decode_messages(session_id, [body for _, body in reversed(rows)])


def add(transaction: Transaction, row: Row, records: Sequence[tuple[str, str]]) -> Row:
    """Add those messages that the session does not hold, and count them."""
    if not records:
        return row
    places = enumerate(records, start=row.last_position + 1)
    added = transaction.execute(
        _ADD, [(row.session_key, place, *record) for place, record in places]
    )
    return row._replace(
        message_count=row.message_count + added.rowcount,
        last_position=row.last_position + len(records),
    )


def replace(transaction: Transaction, row: Row, record: tuple[str, str]) -> bool:
    """Put a message in the place of the one with its id; tell whether there is one."""
    message_id, body = record
    return bool(transaction.execute(_REPLACE, (body, row.session_key, message_id)).rowcount)


def remove(transaction: Transaction, row: Row, message_ids: Sequence[str]) -> list[str]:
    """Delete those messages that the session holds, and give their ids in order."""
    found: list[tuple[int, str]] = []
    for start in range(0, len(message_ids), _MANY):
        some = message_ids[start : start + _MANY]
        statement = _NAMED.format(",".join("?" * len(some)))
        found += transaction.execute(statement, (row.session_key, *some))
    for position, _ in found:
        _require_position(row, position)
    found.sort()
    if found:
        transaction.execute(_REMOVE, [(row.session_key, position) for position, _ in found])
    return [message_id for _, message_id in found]


def clear(transaction: Transaction, row: Row) -> Row:
    """Delete all messages of a session."""
    transaction.execute(_CLEAR, (row.session_key,))
    return row._replace(message_count=0)


def _require_position(row: Row, position: object) -> int:
    if type(position) is int:
        return position
    raise CorruptMessageError(f"session {row.id!r}: the place of a message can't be read")


def _rows(limit: int | None) -> int:
    return -1 if limit is None else limit
