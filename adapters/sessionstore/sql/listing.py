"""Listing sessions a page at a time, and asking the database for a sign of life."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sessionstore.errors import CorruptMessageError
from sessionstore.models import SessionMessage, SessionPage, decode_messages
from sessionstore.operations import ListSessions, Ping, Setup
from sessionstore.rows.sessions import Row, start_of
from sessionstore.sql.direct import Query, Values
from sessionstore.sql.list_statements import Listing, listing, previewing
from sessionstore.sql.read_statements import HEAD
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions

__all__ = ["list_sessions", "ping", "set_up"]


def list_sessions(sessions: Sessions, asked: ListSessions) -> SqlFlow[SessionPage]:
    """Read a page of sessions, newest activity first, from an index.

    Args:
        sessions: The store's.
        asked: Which sessions, and how many.

    Returns:
        The page. Sessions that can't be read are left out, and others take their places.

    Raises:
        InvalidSessionError: The cursor is not one that a page gave.
    """
    limit = asked.limit
    found: Sequence[Any] = yield Work(_query(sessions, asked), at_once=True, repeatable=True)
    rows, last = _with_messages(found) if asked.last else ([Row._make(row) for row in found], None)
    del found  # an error's frames would show it: a `Row` shows no title
    infos = sessions.readable.infos(rows[:limit], last)
    if len(rows) <= limit:
        return SessionPage(infos, None)
    cursor = rows[limit - 1].cursor()
    if len(infos) == limit:
        return SessionPage(infos, cursor)
    rest = msgspec.structs.replace(asked, limit=limit - len(infos), cursor=cursor)
    page = yield from list_sessions(sessions, rest)
    return SessionPage([*infos, *page.sessions], page.cursor)


def _query(sessions: Sessions, asked: ListSessions) -> Query:
    agent_id, user_id, start = asked.agent_id, asked.user_id, start_of(asked)
    values = Values(oldest=sessions.oldest(), limit=asked.limit + 1)
    if agent_id is not None:
        values["agent_id"] = agent_id
    if user_id is not None:
        values["user_id"] = user_id
    if start is not None:
        values["updated_at"], values["session_key"] = start
    recent = asked.since > 0 and not sessions.is_sqlite
    if recent:
        values["since"] = asked.since
    else:  # of two such times SQLite would look for one only, and scan for the other
        values["oldest"] = max(values["oldest"], asked.since)
    kind = Listing(agent_id is not None, user_id is not None, start is not None, recent)
    if not asked.last:
        return Query(listing(sessions.tables, kind), values)
    lateral = sessions.is_postgres
    values["last" if lateral else "others"] = asked.last if lateral else asked.last - 1
    return Query(previewing(sessions.tables, kind, lateral), values)


def _with_messages(
    found: Sequence[Any],
) -> tuple[list[Row], Callable[[Row], list[SessionMessage]]]:
    """Give the sessions of a page in their order, and what gives the last messages of each."""
    rows = [Row._make(columns) for kind, _, _, *columns in found if kind == HEAD]
    bodies: defaultdict[Any, list[tuple[Any, Any]]] = defaultdict(list)
    for kind, position, body, key, *_ in found:
        if kind != HEAD and (position, body) != (None, None):
            bodies[key].append((position, body))

    def last(row: Row) -> list[SessionMessage]:
        messages = bodies[row.session_key]
        if any(type(position) is not int or body is None for position, body in messages):
            raise CorruptMessageError(f"session {row.id!r}: a stored message can't be read")
        return decode_messages(row.id, [body for _, body in sorted(messages)])

    return sorted(rows, key=Row.place, reverse=True), last


def ping(sessions: Sessions, _: Ping) -> SqlFlow[None]:
    """Read the version of the tables, on a connection of its own where all others are in use.

    Args:
        sessions: The store's.

    Raises:
        StoreUnavailableError: There was no answer.
    """
    yield Work(sessions.tables.stored_version, True, True, may_exceed_pool=True)


def set_up(sessions: Sessions, asked: Setup) -> SqlFlow[None]:
    """See to it once more that the tables are there: what was refused may be allowed by now.

    Args:
        sessions: The store's.
        asked: Nothing.

    Raises:
        StoreUnavailableError: The database can't be reached, or is busy.
        SessionStoreError: The tables are missing or of another version.
    """
    del asked
    sessions.look_again()
    yield from ping(sessions, Ping())
