"""What the tests of SQLite need of a file: a lock on it, and a look at it from outside."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sessionstore import SessionMessage, SessionStore, SQLiteSessionStore


def said(text: str, id: str | None = None) -> SessionMessage:
    return SessionMessage("user", text, id=id)


def files_of(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


@contextmanager
def outside(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection that no store knows of."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as found:
        yield found


@contextmanager
def write_lock(path: Path, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Hold what only one writer at a time may hold."""
    with outside(path) as connection:
        connection.execute(f"BEGIN {kind}")
        yield
        connection.rollback()


@contextmanager
def crowded(store: SQLiteSessionStore) -> Iterator[None]:
    """Have another call at work all the time: a store reads otherwise then."""
    call = store._database.call()
    store._database.take(call, write=False)
    try:
        yield
    finally:
        store._database.settle(call)


def require_previews_without_the_damaged(
    store: SessionStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Require that a session whose last messages can't be read is no part of a list with these."""
    for name in ("first", "damaged", "last"):
        store.create(name, messages=[said("s3cret words", f"m{n}") for n in range(4)])
    with outside(path) as connection:
        connection.execute(
            "UPDATE sessionstore_messages SET body = substr(body, 2) WHERE id = 'm2' AND "
            "session_key = (SELECT session_key FROM sessionstore_sessions WHERE id = 'damaged')"
        )
    with caplog.at_level(logging.WARNING, "sessionstore"):
        for _ in range(2):
            for limit in (1, 2, 3):
                page = store.list_sessions(limit=limit, last=2)
                assert [info.id for info in page.sessions] == ["last", "first"][:limit]
                assert (page.cursor is None) == (limit > 1)
    assert [record.getMessage().split("'")[1] for record in caplog.records] == ["damaged"]
    assert "s3cret" not in caplog.text
    for last in (0, 1):  # what is damaged is not among these
        listed = [info.id for info in store.list_sessions(last=last).sessions]
        assert listed == ["last", "damaged", "first"]
