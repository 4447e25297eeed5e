"""What the tests of SQLite need of a file: a lock on it, and a look at it from outside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sessionstore import SessionMessage, SQLiteSessionStore


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
