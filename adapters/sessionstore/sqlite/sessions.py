"""A session's row: found, made, noted as written, dropped. All within a transaction."""

from __future__ import annotations

from sessionstore._runtime.clock import clock
from sessionstore.errors import SessionNotFoundError
from sessionstore.ownership import require_owner
from sessionstore.rows.sessions import LATEST, PRUNE_MESSAGES, Row, tombstone
from sessionstore.sqlite.transactions import Transaction

__all__ = [
    "COLUMNS",
    "drop",
    "find",
    "leave_tombstone",
    "look_up",
    "make",
    "oldest_live",
    "relabelled",
    "require",
    "restored",
    "written",
]

# JSON is read as bytes: what is not UTF-8 is for the decoders to refuse, not for the driver.
COLUMNS = (
    "session_key, id, agent_id, user_id, CAST(metadata AS BLOB), "
    "created_at, updated_at, version, message_count, last_position"
)
_FIND = f"SELECT {COLUMNS} FROM sessionstore_sessions WHERE id = ?"  # noqa: S608
_NEWEST = "SELECT max(updated_at) FROM sessionstore_sessions WHERE updated_at < ?"
_MAKE = """INSERT INTO sessionstore_sessions
    (id, agent_id, user_id, metadata, created_at, updated_at, version, message_count, last_position)
    VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0)"""
_WRITTEN = """UPDATE sessionstore_sessions SET version = version + 1, updated_at = max(?,
    1 + CAST((SELECT coalesce(max(updated_at), 0) FROM sessionstore_sessions
        WHERE updated_at < ?) AS INTEGER)),
    metadata = CAST(? AS TEXT), message_count = ?, last_position = ? WHERE session_key = ?"""
_RESTORED = """UPDATE sessionstore_sessions SET version = version + 1, updated_at = ?,
    metadata = CAST(? AS TEXT), message_count = ?, last_position = ? WHERE session_key = ?"""
_RELABELLED = """UPDATE sessionstore_sessions SET version = version + 1, metadata = CAST(? AS TEXT)
    WHERE session_key = ?"""
_CLEAR = "DELETE FROM sessionstore_messages WHERE session_key = ?"
_DROP = "DELETE FROM sessionstore_sessions WHERE session_key = ?"
_TOMBSTONE = "UPDATE sessionstore_sessions SET id = ?, updated_at = ? WHERE session_key = ?"


def oldest_live(transaction: Transaction) -> int:
    """Give the time before which a session has expired, in microseconds."""
    return clock.oldest_live(transaction.retention)


def find(transaction: Transaction, session_id: str, user_id: str | None) -> Row | None:
    """Give a live session.

    Raises:
        SessionAccessError: It is another user's.
        CorruptMessageError: Its row is damaged.
    """
    return look_up(transaction, session_id, user_id)[0]


def require(transaction: Transaction, session_id: str, user_id: str | None) -> Row:
    """Give a live session.

    Raises:
        SessionNotFoundError: There is none.
        SessionAccessError: It is another user's.
        CorruptMessageError: Its row is damaged.
    """
    row = look_up(transaction, session_id, user_id)[0]
    if row is None:
        raise SessionNotFoundError(f"there is no session {session_id!r}")
    return row


def look_up(
    transaction: Transaction, session_id: str, user_id: str | None
) -> tuple[Row | None, Row | None]:
    """Give the session, or else the expired one that stands in its place."""
    found = transaction.execute(_FIND, (session_id,))
    if not found:
        return None, None
    row = Row._make(found.pop())  # an error's frames would show it: a `Row` shows no title
    row.require_sound()
    if row.updated_at < clock.oldest_live(transaction.retention):
        return None, row
    if user_id is not None:
        require_owner(row.user_id, user_id)
    return row, None


def make(
    transaction: Transaction,
    named: tuple[str, str, str | None],
    metadata: str,
    expired: Row | None,
    created_at: int | None = None,
) -> Row:
    """Make a session, in the place of an expired one with the same id.

    Args:
        transaction: Within which.
        named: Its id, its agent and its owner.
        metadata: JSON.
        expired: The row of that one.
        created_at: When it was made, in microseconds since 1970; ``None`` for now.
    """
    if expired and expired.message_count > PRUNE_MESSAGES:
        leave_tombstone(transaction, expired.session_key)
    elif expired:
        drop(transaction, expired.session_key)
    now = _next_time(transaction) if created_at is None else created_at
    made = transaction.execute(_MAKE, (*named, metadata, now, now))
    # Numbers are given again: messages of a damaged session may be left under this one.
    transaction.execute(_CLEAR, (made.lastrowid,))
    return Row(made.lastrowid, *named, metadata, now, now, 0, 0, 0)


def written(transaction: Transaction, row: Row) -> None:
    """Note that a session was written to, later than any other."""
    made_just_now = row.version == 0
    now, others = (row.updated_at, 0) if made_just_now else (clock.wall(), LATEST)
    counts = row.message_count, row.last_position
    transaction.execute(_WRITTEN, (now, others, row.metadata, *counts, row.session_key))


def restored(transaction: Transaction, row: Row) -> None:
    """Note that a session was restored, with the time that it has."""
    counts = row.message_count, row.last_position
    transaction.execute(_RESTORED, (row.updated_at, row.metadata, *counts, row.session_key))


def relabelled(transaction: Transaction, row: Row) -> None:
    """Note that a session has other metadata, which leaves it where it is in lists."""
    transaction.execute(_RELABELLED, (row.metadata, row.session_key))


def _next_time(transaction: Transaction) -> int:
    [[newest]] = transaction.execute(_NEWEST, (LATEST,))
    return clock.stamp(int(newest or 0))


def leave_tombstone(transaction: Transaction, session_key: int) -> None:
    """Make a tombstone of an expired session: its id is free, its messages go later."""
    transaction.execute(_TOMBSTONE, (*tombstone(session_key).values(), session_key))


def drop(transaction: Transaction, session_key: int) -> None:
    """Delete a session with its messages."""
    transaction.execute(_CLEAR, (session_key,))
    transaction.execute(_DROP, (session_key,))
