"""The operations that read, each within a transaction."""

from __future__ import annotations

from functools import partial

from sessionstore.models import SYSTEM_ROLES, SessionData, SessionInfo, SessionMessage, SessionPage
from sessionstore.operations import Get, GetMessages, ListSessions, Ping
from sessionstore.rows.sessions import Row, start_of
from sessionstore.sqlite import messages
from sessionstore.sqlite.sessions import COLUMNS, find, oldest_live
from sessionstore.sqlite.transactions import Transaction

__all__ = ["get", "get_messages", "list_sessions", "ping"]


def get(transaction: Transaction, operation: Get) -> SessionData | None:
    """Give a session with its last messages."""
    row = find(transaction, operation.session_id, operation.user_id)
    if row is None:
        return None
    last = _last_before(transaction, row, messages.END, operation)
    return SessionData(**row.head(), messages=last)


def get_messages(transaction: Transaction, operation: GetMessages) -> list[SessionMessage]:
    """Give a page of a session's messages, oldest first."""
    row = find(transaction, operation.session_id, operation.user_id)
    if row is None:
        return []
    if operation.after is not None:
        return _following(transaction, row, operation.after, operation.limit)
    end = messages.END
    if operation.before is not None:
        end = messages.position_of(transaction, row, operation.before, "before")
    return _last_before(transaction, row, end, operation)


def _last_before(
    transaction: Transaction, row: Row, end: int, operation: Get | GetMessages
) -> list[SessionMessage]:
    found, start = messages.last_before(transaction, row, end, operation.limit)
    if operation.keep_system and operation.limit is not None:
        first = messages.first_before(transaction, row, start)
        found[:0] = [message for message in first if message.role in SYSTEM_ROLES]
    return found


def _following(
    transaction: Transaction, row: Row, after: str, limit: int | None
) -> list[SessionMessage]:
    start = messages.START
    if after:
        start = messages.position_of(transaction, row, after, "on from")
    return messages.next_after(transaction, row, start, limit)


def list_sessions(transaction: Transaction, operation: ListSessions) -> SessionPage:
    """Give a page of sessions, newest activity first."""
    where: list[str] = ["updated_at >= ?"]
    values: list[str | int] = [max(oldest_live(transaction), operation.since)]
    if operation.user_id is not None:
        where.append("user_id = ?")
        values.append(operation.user_id)
    if operation.agent_id is not None:
        # A user has fewer sessions than an agent: the plus keeps the agent's index out.
        where.append("agent_id = ?" if operation.user_id is None else "+agent_id = ?")
        values.append(operation.agent_id)
    after = start_of(operation)
    last = partial(_preview, transaction, operation.last) if operation.last else None
    sessions: list[SessionInfo] = []
    while True:
        wanted = operation.limit - len(sessions)
        rows = _page(transaction, where, values, after, wanted + 1)
        sessions += transaction.readable.infos(rows[:wanted], last)
        if len(rows) <= wanted:
            return SessionPage(sessions, None)
        if len(sessions) == operation.limit:
            return SessionPage(sessions, rows[wanted - 1].cursor())
        after = rows[wanted - 1].place()


def _preview(transaction: Transaction, count: int, row: Row) -> list[SessionMessage]:
    return messages.last_before(transaction, row, messages.END, count)[0]


def _page(
    transaction: Transaction,
    where: list[str],
    values: list[str | int],
    after: tuple[int, int] | None,
    count: int,
) -> list[Row]:
    if after is not None:
        where, values = [*where, "(updated_at, session_key) < (?, ?)"], [*values, *after]
    page = f"""SELECT {COLUMNS} FROM sessionstore_sessions WHERE {" AND ".join(where)}
        ORDER BY updated_at DESC, session_key DESC LIMIT ?"""  # noqa: S608 - no value in it
    return [Row._make(found) for found in transaction.execute(page, (*values, count))]


def ping(transaction: Transaction, _: Ping) -> None:
    """Read something, so that a file that can't be read is told."""
    transaction.execute("SELECT version FROM sessionstore_schema")
