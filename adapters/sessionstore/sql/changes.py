"""The steps of a transaction that changes one session, whose row it locks first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, insert, select

from sessionstore.errors import SessionNotFoundError
from sessionstore.ownership import require_owner
from sessionstore.rows.sessions import PRUNE_MESSAGES, Row
from sessionstore.sql.clock import oldest_live
from sessionstore.sql.direct import Values
from sessionstore.sql.expiring import clear, counted, drop, hide
from sessionstore.sql.sessions import Sessions
from sessionstore.sql.write_statements import adding, locking, moment, noting, relabelling

__all__ = [
    "add",
    "enter",
    "find",
    "has_expired",
    "in_parts",
    "make",
    "new_row",
    "relabel",
    "remove",
    "remove_at",
    "replace_all",
    "require",
    "write_head",
]

T = TypeVar("T")

_MANY = 500


def new_row(session_id: str, agent_id: str, user_id: str | None, metadata: str) -> Row:
    """Give the row of a session that is to be made: where it has no times, now."""
    return Row(0, session_id, agent_id, user_id, metadata, 0, 0, 1, 0, 0)


def find(
    sessions: Sessions,
    connection: Connection,
    session_id: str,
    user_id: str | None,
    *,
    damaged: bool = False,
) -> Row | None:
    """Lock a session; an expired one is dropped, or hidden until it is pruned.

    Args:
        sessions: The store's.
        connection: In a transaction.
        session_id: The session.
        user_id: The caller, where ownership is to be checked.
        damaged: Give its row also where it can't be read.

    Returns:
        Its row; ``None`` where there is no session.

    Raises:
        SessionAccessError: It is another user's.
        CorruptMessageError: It can't be read.
    """
    values = {"session_id": session_id, "oldest": sessions.oldest()}
    found = connection.execute(locking(sessions.tables), values).one_or_none()
    if found is None:
        return None
    row, is_live = Row._make(found[:-1]), found[-1]
    del found  # an error's frames would show it: a `Row` of ours shows no title
    if not is_live:
        _discard(sessions, connection, row)
        return None
    if user_id is not None:
        require_owner(row.user_id, user_id)
    if not damaged:
        row.require_sound()
    return row


def require(
    sessions: Sessions, connection: Connection, session_id: str, user_id: str | None
) -> Row:
    """Lock a session that must be there: as `find`, or `SessionNotFoundError`."""
    row = find(sessions, connection, session_id, user_id)
    if row is None:
        raise SessionNotFoundError(f"there is no session {session_id!r}")
    return row


def make(
    sessions: Sessions, connection: Connection, row: Row, records: Sequence[tuple[str, str]]
) -> Row:
    """Make a session with its first messages, and give its row."""
    count = len(records)
    row = enter(sessions, connection, row._replace(message_count=count, last_position=count))
    add(sessions, connection, row._replace(message_count=0, last_position=0), records)
    return row


def enter(sessions: Sessions, connection: Connection, row: Row) -> Row:
    """Make a session, whose messages come later, and give its row."""
    if not row.updated_at:
        now = _next_time(sessions, connection)
        row = row._replace(created_at=now, updated_at=now)
    values = Values(row._asdict())
    del values["session_key"]
    statement = insert(sessions.tables.sessions).values(values)
    made: Any = connection.execute(statement).inserted_primary_key
    return row._replace(session_key=made[0])


def add(
    sessions: Sessions, connection: Connection, row: Row, records: Sequence[tuple[str, str]]
) -> Row:
    """Add those messages that a session does not hold, and give its row with their number."""
    values = [
        Values(session_key=row.session_key, position=position, id=message_id, body=body)
        for position, (message_id, body) in enumerate(records, start=row.last_position + 1)
    ]
    if row.message_count and not sessions.is_sqlite:
        held = _held(sessions, connection, row, records)
        values = [value for value in values if value["id"] not in held]
    added = len(values)
    if values:
        done = connection.execute(adding(sessions.tables, sessions.is_sqlite), values)
        added = done.rowcount if sessions.is_sqlite else added
    return row._replace(
        message_count=row.message_count + added,
        last_position=row.last_position + len(records),
    )


def remove(
    sessions: Sessions, connection: Connection, row: Row, message_ids: Sequence[str]
) -> list[str]:
    """Delete those messages that a session holds, and give their ids in order."""
    messages = sessions.tables.messages
    own = messages.c.session_key == row.session_key
    found: list[tuple[int, str]] = []
    for ids in in_parts(message_ids):
        named = select(messages.c.position, messages.c.id).where(own, messages.c.id.in_(ids))
        found += [(position, message_id) for position, message_id in connection.execute(named)]
    found.sort()
    remove_at(sessions, connection, row, [position for position, _ in found])
    return [message_id for _, message_id in found]


def remove_at(
    sessions: Sessions, connection: Connection, row: Row, positions: Sequence[int]
) -> None:
    """Delete the messages at those positions."""
    messages = sessions.tables.messages
    own = messages.c.session_key == row.session_key
    for places in in_parts(positions):
        connection.execute(delete(messages).where(own, messages.c.position.in_(places)))


def replace_all(
    sessions: Sessions, connection: Connection, row: Row, records: Sequence[tuple[str, str]]
) -> Row:
    """Put other messages in the place of all that a session holds, and give its row."""
    clear(sessions.tables, connection, [row.session_key])
    return add(sessions, connection, row._replace(message_count=0), records)


def write_head(
    sessions: Sessions,
    connection: Connection,
    row: Row,
    *,
    metadata: bool = False,
    at: int | None = None,
) -> None:
    """Note a write in a session's row: its counts, its time, its version, and its metadata.

    Args:
        sessions: The store's.
        connection: In a transaction.
        row: The row, as it is to be.
        metadata: Its metadata changes.
        at: Its time, in microseconds since 1970; ``None`` for now.
    """
    values = Values(
        key=row.session_key, count=row.message_count, last=row.last_position, now=sessions.now()
    )
    if metadata:
        values["changed"] = row.metadata
    if at is not None:
        values["next"] = at
    elif sessions.is_mysql:  # which refuses to read a table that it changes
        values["next"] = _next_time(sessions, connection)
    connection.execute(noting(sessions.tables, metadata, "next" not in values), values)


def relabel(sessions: Sessions, connection: Connection, row: Row) -> Row:
    """Give a session other metadata, which leaves it where it is in lists, and give its row."""
    values = Values(key=row.session_key, changed=row.metadata)
    connection.execute(relabelling(sessions.tables), values)
    return row._replace(version=row.version + 1)


def has_expired(sessions: Sessions, connection: Connection, updated_at: int) -> bool:
    """Tell whether a session that was last written to then has expired, by the server's clock."""
    if sessions.retention is None:
        return False
    oldest: Any = connection.scalar(select(oldest_live()), {"oldest": sessions.oldest_kept()})
    return updated_at < int(oldest)


def _next_time(sessions: Sessions, connection: Connection) -> int:
    found: Any = connection.execute(moment(sessions.tables), {"now": sessions.now()}).one()
    return max(int(found[0]), int(found[1]) + 1)


def _held(
    sessions: Sessions, connection: Connection, row: Row, records: Sequence[tuple[str, str]]
) -> set[str]:
    messages = sessions.tables.messages.c
    own = select(messages.id).where(messages.session_key == row.session_key)
    held: set[str] = set()
    for part in in_parts(records):
        ids = [message_id for message_id, _ in part]
        held.update(connection.scalars(own.where(messages.id.in_(ids))))
    return held


def _discard(sessions: Sessions, connection: Connection, expired: Row) -> None:
    """Drop an expired session; a large one is left to `prune`, which takes its time."""
    if counted(expired.message_count) > PRUNE_MESSAGES:
        hide(sessions.tables, connection, expired.session_key)
    else:
        drop(sessions.tables, connection, [expired.session_key])


def in_parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Give as many at a time as a statement may name."""
    return (values[start : start + _MANY] for start in range(0, len(values), _MANY))
