"""Listing sessions a page at a time, and asking the database for a sign of life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sessionstore.models import SessionPage
from sessionstore.operations import ListSessions, Ping
from sessionstore.rows import Row, place
from sessionstore.sql.direct import Query, Values
from sessionstore.sql.read_statements import listing
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions

__all__ = ["list_sessions", "ping"]


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
    rows = [Row._make(row) for row in found]
    infos = sessions.readable.infos(rows[:limit])
    if len(rows) <= limit:
        return SessionPage(infos, None)
    last = rows[limit - 1].cursor()
    if len(infos) == limit:
        return SessionPage(infos, last)
    rest = msgspec.structs.replace(asked, limit=limit - len(infos), cursor=last)
    page = yield from list_sessions(sessions, rest)
    return SessionPage([*infos, *page.sessions], page.cursor)


def _query(sessions: Sessions, asked: ListSessions) -> Query:
    agent_id, user_id, cursor = asked.agent_id, asked.user_id, asked.cursor
    values = Values(oldest=sessions.oldest(), limit=asked.limit + 1)
    if agent_id is not None:
        values["agent_id"] = agent_id
    if user_id is not None:
        values["user_id"] = user_id
    if cursor is not None:
        values["updated_at"], values["session_key"] = place(cursor)
    by_agent, by_user, further = agent_id is not None, user_id is not None, cursor is not None
    return Query(listing(sessions.tables, by_agent, by_user, further), values)


def ping(sessions: Sessions, _: Ping) -> SqlFlow[None]:
    """Read the version of the tables, on a connection of its own where all others are in use.

    Args:
        sessions: The store's.

    Raises:
        StoreUnavailableError: There was no answer.
    """
    yield Work(sessions.tables.stored_version, True, True, may_exceed_pool=True)
