"""A session is made of another one's messages, within a transaction."""

from __future__ import annotations

from sessionstore.errors import CorruptMessageError, SessionExistsError, SessionNotFoundError
from sessionstore.models import SessionInfo, encode_metadata
from sessionstore.operations import Fork
from sessionstore.rows.sessions import Row
from sessionstore.sqlite import sessions
from sessionstore.sqlite.transactions import Transaction

__all__ = ["fork"]

_LAST = """SELECT position, id FROM sessionstore_messages WHERE session_key = ?
    ORDER BY position DESC LIMIT 1"""
_NAMED = "SELECT position, id FROM sessionstore_messages WHERE session_key = ? AND id = ?"
_COPY = """INSERT INTO sessionstore_messages (session_key, position, id, body)
    SELECT ?, position, id, body FROM sessionstore_messages
    WHERE session_key = ? AND position <= ? ORDER BY position"""


def fork(transaction: Transaction, operation: Fork) -> SessionInfo:
    """Make a session with the messages of another one."""
    if operation.metadata is not None:
        encode_metadata(operation.metadata)
    new_session_id = str(operation.new_session_id)
    source = sessions.require(transaction, operation.session_id, operation.user_id)
    position, last = _last(transaction, source, operation.at)
    there, expired = sessions.look_up(transaction, new_session_id, operation.user_id)
    if there:
        raise SessionExistsError(f"session {new_session_id!r} is already there")
    # A `Row` shows no title to whom an error's frames are shown.
    source = source._replace(metadata=_metadata(operation, source, last))
    named = new_session_id, source.agent_id, source.user_id
    row = sessions.make(transaction, named, str(source.metadata), expired)
    # The messages keep their places, gaps among them.
    copied = transaction.execute(_COPY, (row.session_key, source.session_key, position))
    row = row._replace(message_count=copied.rowcount, last_position=position)
    sessions.written(transaction, row)
    return row._replace(version=1).info()


def _metadata(operation: Fork, source: Row, last: str | None) -> str:
    return encode_metadata(operation.new_metadata(source.decoded(), last)).decode()


def _last(transaction: Transaction, source: Row, at: str | None) -> tuple[int, str | None]:
    """Give the place and the id of the last message to copy."""
    if at is None:
        found = transaction.execute(_LAST, (source.session_key,)) or [(0, None)]
    else:
        found = transaction.execute(_NAMED, (source.session_key, at))
    if not found:
        raise SessionNotFoundError(f"the session has no message {at!r}")
    position, last = found[0]
    if type(position) is not int or not isinstance(last, str | None):
        raise CorruptMessageError(f"session {source.id!r}: a stored message can't be read")
    return position, last
