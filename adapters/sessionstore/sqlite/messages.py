"""A session's messages: read, added and taken out. All within a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sessionstore.errors import CorruptMessageError, InvalidMessageError, SessionNotFoundError
from sessionstore.models import SessionMessage, decode_messages
from sessionstore.rows.sessions import Row
from sessionstore.sqlite.transactions import Transaction

__all__ = [
    "END",
    "START",
    "add",
    "clear",
    "first_before",
    "last_before",
    "named",
    "next_after",
    "position_of",
    "remove",
    "remove_behind",
    "replace",
    "swap",
]

START, END = 0, 2**63 - 1
_MANY = 500  # values in one statement: SQLite takes 999, of late more
_LAST = """SELECT position, CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND position < ? ORDER BY position DESC LIMIT ?"""
_NEXT = """SELECT position, CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND position > ? ORDER BY position LIMIT ?"""
_FIRST = """SELECT CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND position < ? ORDER BY position LIMIT 1"""
# One row, and so one step: between two steps another thread may take the interpreter, and with many
# that read, one does. What has a LIMIT is carried out by itself, in its order. JSON holds no raw
# control character, so that none of the bodies can hold what is between them.
_JOINED = """SELECT count(*), count(body), min(position),
    CAST(group_concat(body, char(30)) AS BLOB) FROM ({})"""
_SMALL_BODY = "CASE WHEN length(CAST(body AS BLOB)) <= 65536 THEN body END AS body"
_LAST_JOINED, _NEXT_JOINED = (
    _JOINED.format(rows.replace("CAST(body AS BLOB)", _SMALL_BODY)) for rows in (_LAST, _NEXT)
)
_BETWEEN = b"\x1e"
_MOST = 1000  # messages in one row
_POSITION = "SELECT position FROM sessionstore_messages WHERE session_key = ? AND id = ?"
_ADD = """INSERT INTO sessionstore_messages (session_key, position, id, body) VALUES (?, ?, ?, ?)
    ON CONFLICT (session_key, id) DO NOTHING"""
_REPLACE = "UPDATE sessionstore_messages SET body = ? WHERE session_key = ? AND id = ?"
_NAMED = """SELECT position, id FROM sessionstore_messages
    WHERE session_key = ? AND id IN ({})"""
_BODIES = """SELECT id, CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND id IN ({})"""
_REMOVE = "DELETE FROM sessionstore_messages WHERE session_key = ? AND position = ?"
_BEHIND = """SELECT position, id FROM sessionstore_messages
    WHERE session_key = ? AND position > ? ORDER BY position"""
_REMOVE_BEHIND = "DELETE FROM sessionstore_messages WHERE session_key = ? AND position > ?"
_CLEAR = "DELETE FROM sessionstore_messages WHERE session_key = ?"


def last_before(
    transaction: Transaction, row: Row, end: int, limit: int | None
) -> tuple[list[SessionMessage], int]:
    """Give the last messages before a position, oldest first, and the position of the first.

    Raises:
        CorruptMessageError: One of them can't be read.
    """
    bodies, start = _joined(transaction, _LAST_JOINED, row, end, limit)
    if bodies is not None:
        return decode_messages(row.id, reversed(bodies)), end if start is None else start
    rows = transaction.execute(_LAST, (row.session_key, end, _rows(limit)))
    found = decode_messages(row.id, [body for _, body in reversed(rows)])
    return found, rows[-1][0] if rows else end


def next_after(
    transaction: Transaction, row: Row, start: int, limit: int | None
) -> list[SessionMessage]:
    """Give the first messages behind a position, oldest first.

    Raises:
        CorruptMessageError: One of them can't be read.
    """
    bodies, _ = _joined(transaction, _NEXT_JOINED, row, start, limit)
    if bodies is not None:
        return decode_messages(row.id, bodies)
    rows = transaction.execute(_NEXT, (row.session_key, start, _rows(limit)))
    return decode_messages(row.id, [body for _, body in rows])


def first_before(transaction: Transaction, row: Row, end: int) -> list[SessionMessage]:
    """Give the session's first message, if it is before a position.

    Raises:
        CorruptMessageError: It can't be read.
    """
    rows = transaction.execute(_FIRST, (row.session_key, end))
    return decode_messages(row.id, [body for [body] in rows])


def _joined(
    transaction: Transaction, statement: str, row: Row, place: int, limit: int | None
) -> tuple[list[bytes] | None, int | None]:
    """Read bodies in one step, and the first position; ``None`` where that is not the quicker way.

    So it is not for one call alone, and where they are many or large.
    """
    wanted = row.message_count if limit is None else min(limit, row.message_count)
    if wanted > _MOST or not transaction.is_crowded:
        return None, None
    most = _MOST + 1 if limit is None else min(limit, _MOST + 1)  # the count may be damaged
    [[count, small, first, joined]] = transaction.execute(statement, (row.session_key, place, most))
    bodies = [] if joined is None else joined.split(_BETWEEN)
    if len(bodies) == count == small <= _MOST:
        return bodies, first
    return None, None


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


def named(
    transaction: Transaction, row: Row, message_ids: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Give the ids and bodies of those messages that the session holds."""
    for start in range(0, len(message_ids), _MANY):
        some = message_ids[start : start + _MANY]
        statement = _BODIES.format(",".join("?" * len(some)))
        yield from transaction.execute(statement, (row.session_key, *some))


def swap(transaction: Transaction, row: Row, records: Sequence[tuple[str, bytes]]) -> None:
    """Put messages in the place of those with their ids."""
    if records:
        values = [(body.decode(), row.session_key, message_id) for message_id, body in records]
        transaction.execute(_REPLACE, values)


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


def remove_behind(transaction: Transaction, row: Row, message_id: str | None) -> list[str]:
    """Delete all messages behind one, or all of the session, and give their ids in order.

    Raises:
        SessionNotFoundError: The session has no such message.
        CorruptMessageError: A position or an id can't be read.
    """
    start = START
    if message_id is not None:
        found = transaction.execute(_POSITION, (row.session_key, message_id))
        if not found:
            raise SessionNotFoundError(f"the session has no message {message_id!r}")
        start = _require_position(row, found[0][0])
    behind = transaction.execute(_BEHIND, (row.session_key, start))
    for position, held in behind:
        _require_position(row, position)
        if type(held) is not str:
            raise CorruptMessageError(f"session {row.id!r}: the id of a message can't be read")
    if behind:
        transaction.execute(_REMOVE_BEHIND, (row.session_key, start))
    return [held for _, held in behind]


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
