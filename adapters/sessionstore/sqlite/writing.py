"""The operations that write, each within a transaction."""

from __future__ import annotations

from sessionstore.arguments import require_version
from sessionstore.errors import SessionExistsError, SessionNotFoundError
from sessionstore.models import SessionData, SessionInfo, encode_metadata, merge_metadata
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Prune,
    ReplaceMessage,
    Restore,
    Rewind,
    Update,
)
from sessionstore.rows.sessions import PRUNE_MESSAGES, PRUNE_SESSIONS
from sessionstore.sqlite import messages, sessions
from sessionstore.sqlite.leases import prune_leases
from sessionstore.sqlite.transactions import Transaction

__all__ = [
    "append",
    "create",
    "delete",
    "delete_messages",
    "prune",
    "replace_message",
    "restore",
    "rewind",
    "update",
]

_TIME = "SELECT updated_at FROM sessionstore_sessions WHERE session_key = ?"
_EXPIRED = """SELECT session_key, max(0, CAST(message_count AS INTEGER))
    FROM sessionstore_sessions WHERE updated_at < ? LIMIT ?"""
_SLICE = """DELETE FROM sessionstore_messages WHERE session_key = ? AND position < ? +
    (SELECT min(position) FROM sessionstore_messages WHERE session_key = ?)"""


def create(transaction: Transaction, operation: Create) -> SessionData:
    """Make a session."""
    records = transaction.encoded(operation)
    session_id = str(operation.session_id)
    row, expired = sessions.look_up(transaction, session_id, operation.user_id)
    if row:
        raise SessionExistsError(f"session {session_id!r} is already there")
    named = session_id, operation.agent_id, operation.user_id
    row = sessions.make(transaction, named, encode_metadata(operation.metadata).decode(), expired)
    row = messages.add(transaction, row, records)
    sessions.written(transaction, row)
    return SessionData(**row._replace(version=1).head(), messages=list(operation.messages))


def restore(transaction: Transaction, operation: Restore) -> SessionInfo | None:
    """Make a session as it was elsewhere, or go on with one."""
    records, metadata = transaction.encoded(operation), encode_metadata(operation.metadata).decode()
    session_id, expected = operation.session_id, operation.expected_version
    row, expired = sessions.look_up(transaction, session_id, operation.user_id)
    if expected is not None:
        require_version(row.version if row else 0, expected)
    elif row:
        raise SessionExistsError(f"session {session_id!r} is already there")
    if operation.updated_at < sessions.oldest_live(transaction):
        return None
    if row is None:
        named = session_id, operation.agent_id, operation.user_id
        row = sessions.make(transaction, named, metadata, expired, operation.created_at)
    row = messages.add(transaction, row._replace(metadata=metadata), records)
    row = row._replace(updated_at=operation.updated_at)
    sessions.restored(transaction, row)
    return row._replace(version=row.version + 1).info()


def append(transaction: Transaction, operation: Append) -> int:
    """Add those messages whose ids are new."""
    records = transaction.encoded(operation)
    row, expired = sessions.look_up(transaction, operation.session_id, operation.user_id)
    if operation.expected_version is not None:
        require_version(row.version if row else 0, operation.expected_version)
    if not records:
        return 0
    if row is None:
        named = operation.session_id, operation.agent_id, operation.user_id
        row = sessions.make(transaction, named, "{}", expired)
    grown = messages.add(transaction, row, records)
    added = grown.message_count - row.message_count
    if added:
        sessions.written(transaction, grown)
    return added


def replace_message(transaction: Transaction, operation: ReplaceMessage) -> None:
    """Put a message in the place of the one with its id."""
    records = transaction.encoded(operation)
    row = sessions.require(transaction, operation.session_id, operation.user_id)
    if not messages.replace(transaction, row, records[0]):
        raise SessionNotFoundError(f"the session has no message {records[0][0]!r}")
    sessions.written(transaction, row)


def delete_messages(transaction: Transaction, operation: DeleteMessages) -> list[str]:
    """Delete some messages."""
    row = sessions.find(transaction, operation.session_id, operation.user_id)
    require_version(row.version if row else 0, operation.expected_version)
    if row is None:
        return []
    deleted = messages.remove(transaction, row, operation.message_ids)
    if deleted:
        row = row._replace(message_count=row.message_count - len(deleted))
        sessions.written(transaction, row)
    return deleted


def rewind(transaction: Transaction, operation: Rewind) -> list[str]:
    """Delete all messages behind one."""
    row = sessions.find(transaction, operation.session_id, operation.user_id)
    require_version(row.version if row else 0, operation.expected_version)
    if row is None:
        return operation.without_session()
    deleted = messages.remove_behind(transaction, row, operation.to)
    if deleted:
        row = row._replace(message_count=row.message_count - len(deleted))
        sessions.written(transaction, row)
    return deleted


def update(transaction: Transaction, operation: Update) -> SessionInfo:
    """Replace the messages, and merge the metadata, as far as given."""
    records = None if operation.messages is None else transaction.encoded(operation)
    if operation.metadata is not None:
        encode_metadata(operation.metadata)
    row = sessions.require(transaction, operation.session_id, operation.user_id)
    require_version(row.version, operation.expected_version)
    if operation.metadata is not None:
        row = row._replace(
            metadata=encode_metadata(merge_metadata(row.decoded(), operation.metadata)).decode()
        )
    if records is None:
        sessions.relabelled(transaction, row)
        return row._replace(version=row.version + 1).info()
    row = messages.add(transaction, messages.clear(transaction, row), records)
    sessions.written(transaction, row)
    [[now]] = transaction.execute(_TIME, (row.session_key,))
    return row._replace(version=row.version + 1, updated_at=now).info()


def delete(transaction: Transaction, operation: Delete) -> bool:
    """Delete a session; one that has expired was gone before, but not yet from the disk."""
    row, expired = sessions.look_up(transaction, operation.session_id, operation.user_id)
    if found := row or expired:
        sessions.drop(transaction, found.session_key)
    return row is not None


def prune(transaction: Transaction, _: Prune) -> int:
    """Delete what has expired, in batches, so that a writer never waits for the whole of it."""
    pruned = 0
    while transaction.retention is not None:
        oldest = sessions.oldest_live(transaction)
        expired = transaction.execute(_EXPIRED, (oldest, PRUNE_SESSIONS))
        dropped = _prune_some(transaction, expired)
        transaction.commit_batch()
        pruned += dropped
        if dropped == len(expired) < PRUNE_SESSIONS:
            break
    prune_leases(transaction)
    return pruned


def _prune_some(transaction: Transaction, expired: list[tuple[int, int]]) -> int:
    """Drop the first of some sessions, or a part of one that is large; give how many are gone."""
    dropped = count = 0
    for session_key, held in expired:
        count += held
        if dropped and count > PRUNE_MESSAGES:
            break
        if count > PRUNE_MESSAGES:
            sessions.leave_tombstone(transaction, session_key)
            if transaction.execute(_SLICE, (session_key, PRUNE_MESSAGES, session_key)).rowcount:
                break
        sessions.drop(transaction, session_key)
        dropped += 1
    return dropped
