"""Several operations on one session as one step: in one transaction, if not in one statement."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import Connection, delete, insert

from sessionstore.flow import play
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fence,
    Get,
    GetMessages,
    Operation,
    ReplaceMessage,
    Restore,
    Rewind,
    Several,
    Update,
)
from sessionstore.sql.appending import append
from sessionstore.sql.changes import find, new_row
from sessionstore.sql.deleting import delete_messages
from sessionstore.sql.direct import Values
from sessionstore.sql.leases import append_under, fence, lasting_fence
from sessionstore.sql.reading import get, get_messages
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.rewinding import rewind
from sessionstore.sql.sessions import Sessions
from sessionstore.sql.viewing import turn_of, viewed
from sessionstore.sql.writing import (
    create,
    delete_session,
    replace_message,
    restore,
    update_session,
)

__all__ = ["OF_ONE_SESSION", "several"]

_MakeFlow: TypeAlias = Callable[[Sessions, Any], SqlFlow[Any]]

OF_ONE_SESSION: dict[type[Operation[Any]], _MakeFlow] = {
    Append: append,
    Create: create,
    Delete: delete_session,
    DeleteMessages: delete_messages,
    Fence: fence,
    Get: get,
    GetMessages: get_messages,
    ReplaceMessage: replace_message,
    Restore: restore,
    Rewind: rewind,
    Update: update_session,
}
"""What each operation on a session asks of the database."""

_WRITING: dict[type[Operation[Any]], _MakeFlow] = {**OF_ONE_SESSION, Fence: lasting_fence}
_NEVER_LIVE = -1  # the time of the last write: no retention reaches so far back
_ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


def several(sessions: Sessions, asked: Several) -> SqlFlow[list[Any]]:
    """Carry out several operations on a session, each in turn.

    Args:
        sessions: The store's.
        asked: What to do.

    Returns:
        The result of each.

    Raises:
        SessionStoreError: What one of them raises; nothing was done.
    """
    parts = asked.operations
    if len(parts) == 1:
        result = yield from OF_ONE_SESSION[type(parts[0])](sessions, parts[0])
        return [result]
    if sessions.is_postgres and not asked.writes:
        # A reader waits for no lock: see `reading`.
        reader, read = (asked.session_id,), partial(_in_snapshot, sessions, asked)
        found: list[Any] = yield Work(read, repeatable=True, session=reader)
        return found
    if sessions.is_postgres:
        replies = yield from _at_once(sessions, asked)
        if replies is not None:
            return replies
    run = _in_turn if sessions.is_sqlite else _in_transaction
    results: list[Any] = yield Work(partial(run, sessions, asked), session=asked.session_id)
    return results


def _at_once(sessions: Sessions, asked: Several) -> SqlFlow[list[Any] | None]:
    """Do what PostgreSQL can do in one statement; ``None`` where nothing was done."""
    match asked.operations:
        case [Fence() as held, Append(messages=[_, *_]) as added]:
            return (yield from append_under(sessions, held, added))
    if turn := turn_of(asked):
        return (yield from viewed(sessions, *turn))
    return None


def _in_snapshot(sessions: Sessions, asked: Several, connection: Connection) -> list[Any]:
    """Read several times what PostgreSQL holds at one moment."""
    connection.exec_driver_sql(_ONE_SNAPSHOT)
    return [_done(OF_ONE_SESSION, sessions, part, connection) for part in asked.operations]


def _in_turn(sessions: Sessions, asked: Several, connection: Connection) -> list[Any]:
    """Carry out operations while nobody else writes, on SQLite, all at one time."""
    oldest, at_one_time = sessions.oldest(), copy(sessions)
    at_one_time.oldest = lambda: oldest
    return [_done(_WRITING, at_one_time, part, connection) for part in asked.operations]


def _in_transaction(sessions: Sessions, asked: Several, connection: Connection) -> list[Any]:
    """Carry out operations on a session that is locked until the end of the transaction.

    Where there is none, a row that nobody ever finds live keeps others from making it.
    """
    key = _locked(sessions, asked, connection)
    # What was live when it was locked stays so to the end of the step.
    lasting = copy(sessions)
    lasting.oldest = sessions.oldest_of_all
    results = [_done(_WRITING, lasting, part, connection) for part in asked.operations]
    if key is not None:
        c = sessions.tables.sessions.c
        own = (c.session_key == key, c.updated_at == _NEVER_LIVE)
        connection.execute(delete(sessions.tables.sessions).where(*own))
    return results


def _locked(sessions: Sessions, asked: Several, connection: Connection) -> int | None:
    """Lock a session; give the key of the row that stands for it, where there is none."""
    if find(sessions, connection, asked.session_id, asked.user_id, damaged=True):
        return None
    row = new_row(asked.session_id, "", None, "{}")._replace(updated_at=_NEVER_LIVE)
    values = Values(row._asdict())
    del values["session_key"]
    statement = insert(sessions.tables.sessions).values(values)
    key: int = connection.execute(statement).inserted_primary_key[0]  # type: ignore[index]
    return key


def _done(
    flows: dict[type[Operation[Any]], _MakeFlow],
    sessions: Sessions,
    part: Operation[Any],
    connection: Connection,
) -> Any:
    """Carry out one operation on a connection, within its transaction."""

    def send(work: Work[Any]) -> Any:
        return work.run(connection)

    return play(flows[type(part)](sessions, part), send)
