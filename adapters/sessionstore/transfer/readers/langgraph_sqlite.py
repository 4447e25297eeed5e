"""The threads in a file of LangGraph's `SqliteSaver` or `AsyncSqliteSaver`."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from typing import Any

from sessionstore.errors import SessionStoreError
from sessionstore.forms.faults import FormError
from sessionstore.transfer.readers.building import AGENT, Found, Reading, Source, sessions
from sessionstore.transfer.readers.checkpoints import CHANNEL, made_at, parts_of, unpacked
from sessionstore.transfer.readers.files import read_only
from sessionstore.transfer.readers.unreadable import SourceError, Unreadable

__all__ = ["read"]

_NEWEST = """
    SELECT thread_id, MIN(checkpoint_id), MAX(checkpoint_id) FROM checkpoints
    WHERE checkpoint_ns = '' GROUP BY thread_id
"""
_ONE = """
    SELECT type, checkpoint FROM checkpoints
    WHERE thread_id IS ? AND checkpoint_ns = '' AND checkpoint_id IS ?
"""


_A_URL = re.compile(r"^sqlite(\+\w+)?:///")


def read(
    path: str | os.PathLike[str],
    *,
    channel: str = CHANNEL,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the messages of each thread: those of its newest checkpoint.

    Earlier checkpoints, other channels, subgraphs and writes of an unfinished step are not read.
    LangGraph is not needed, and nothing that the checkpoints name is imported.

    Args:
        path: The file, or its URL ``sqlite:///…``.
        channel: The channel of the state that holds the messages.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SourceError: There is no such file or table.
        SessionStoreError: The file can't be read.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    return sessions(_threads(path, channel), user_id=user_id, agent_id=agent_id)


def _threads(path: str | os.PathLike[str], channel: str) -> Source:
    with closing(_opened(path)) as connection:
        try:
            for thread, oldest, newest in connection.execute(_NEWEST):
                where = f"checkpoints, thread {thread!r:.80}"
                if not _is_text(thread, newest):
                    yield Unreadable(where, "its id, or its checkpoint's, is not valid text")
                    continue
                stored = connection.execute(_ONE, (thread, newest)).fetchone()
                yield _thread(channel, where, (thread, oldest, newest), *stored)
        except sqlite3.Error as error:
            raise _translated(error) from error


def _is_text(*ids: Any) -> bool:
    # What is not UTF-8 has been read all the same, but can't be asked for.
    return not any(isinstance(it, str) and re.search("[\ud800-\udfff]", it) for it in ids)


def _thread(
    channel: str, where: str, ids: tuple[Any, Any, Any], kind: Any, raw: Any
) -> Found | Unreadable:
    try:
        checkpoint = unpacked(kind, raw)
    except FormError as error:
        return Unreadable(where, f"its newest checkpoint: {error}")
    values = checkpoint.get("channel_values") if isinstance(checkpoint, dict) else None
    messages = values.get(channel) if isinstance(values, dict) else None
    thread, oldest, newest = ids
    when = made_at(newest)
    parts = parts_of(where, messages, when)
    return Found(thread, where, parts, created_at=made_at(oldest), updated_at=when)


def _opened(path: str | os.PathLike[str]) -> sqlite3.Connection:
    place = _A_URL.sub("", os.fspath(path))
    if "://" in place:  # it may hold a password
        raise SourceError("there is no such SQLite file: this is the URL of something else")
    if not os.path.isfile(place):
        raise SourceError(f"there is no such SQLite file: {place}")
    return read_only(place)


def _translated(error: sqlite3.Error) -> SessionStoreError:
    if str(error).startswith("no such table"):
        return SourceError("the file has no table checkpoints")
    if isinstance(error, sqlite3.OperationalError):
        return SessionStoreError("the file can't be read: it is locked, or a part of it is missing")
    return SourceError("the file is no SQLite database, or is damaged")
