"""Whole sessions are deleted, or hidden while that takes several transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, update

from sessionstore.rows.sessions import PRUNE_MESSAGES, tombstone
from sessionstore.sql.tables import Tables

__all__ = ["clear", "counted", "drop", "hide"]


def drop(tables: Tables, connection: Connection, session_keys: Sequence[int]) -> None:
    """Delete some sessions with all their messages."""
    clear(tables, connection, session_keys)
    named = tables.sessions.c.session_key.in_(session_keys)
    connection.execute(delete(tables.sessions).where(named))


def clear(tables: Tables, connection: Connection, session_keys: Sequence[int]) -> None:
    """Delete all messages of some sessions."""
    named = tables.messages.c.session_key.in_(session_keys)
    connection.execute(delete(tables.messages).where(named))


def hide(tables: Tables, connection: Connection, session_key: int) -> None:
    """Hide an expired session from everyone, and free its id, until it is pruned."""
    named = tables.sessions.c.session_key == session_key
    connection.execute(update(tables.sessions).where(named).values(tombstone(session_key)))


def counted(count: Any) -> int:
    """Give how many messages a session has; more than fit one slice where that is damaged."""
    return count if type(count) is int else PRUNE_MESSAGES + 1
