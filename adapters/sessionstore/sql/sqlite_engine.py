"""SQLAlchemy's engines for SQLite: what they open, and how their connections are pooled."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from sessionstore.sql.file_calls import SLICE
from sessionstore.sql.urls import engine_options, is_in_memory
from sessionstore.sqlite.file import is_fresh, make_private, require_file, use_write_ahead_log
from sessionstore.sqlite.identity import FileIdentity

__all__ = ["KeptConnection", "SqliteFile", "async_sqlite_engine", "identity_of", "sqlite_engine"]

_QUEUE_ONLY = ("max_overflow", "pool_size", "pool_timeout", "pool_use_lifo")


class KeptConnection(sqlite3.Connection):
    """A connection that can be let go of whatever it was interrupted in.

    Attributes:
        last: The newest cursor: one that was left half read would keep a closed file locked.
        identity: What it has open, as long as it is open.
    """

    last: sqlite3.Cursor | None = None
    identity: list[FileIdentity] | None = None

    def cursor(self, *args: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make a cursor."""
        self.last = made = super().cursor(*args)
        return made

    def undo(self) -> None:
        """End what is under way."""
        if self.last is not None:
            self.last.close()
        self.rollback()

    def close(self) -> None:
        """End what is under way, and close the connection."""
        with suppress(sqlite3.Error):  # it is closed already
            self.undo()
        super().close()
        _release(self.identity)

    def end(self) -> None:
        """Close the connection for good."""
        self.close()


class MemoryConnection(KeptConnection):
    """A connection whose database lives as long as it, and so is not SQLAlchemy's to close."""

    def close(self) -> None:
        """Do nothing: `end` closes it."""

    def end(self) -> None:
        """Close the connection, and with it the database."""
        super().close()


@dataclass(frozen=True)
class SqliteFile:
    """How a file is opened.

    Attributes:
        required: It is checked before SQLite opens it.
        shared: It is one of `SQLiteSessionStore`'s, or to become one.
        write_ahead: It is put in write-ahead-log mode.
    """

    required: bool = False
    shared: bool = False
    write_ahead: bool = False

    def before(self, path: str) -> None:
        """Check the file, and make one, the user's alone, where none is."""
        if self.required or not os.path.exists(path):
            require_file(path)

    def opened(self, connection: Any, path: str) -> None:
        """See to a connection that is new."""
        if self.shared and is_fresh(connection, path):
            make_private(path)
        if self.write_ahead:
            use_write_ahead_log(connection, 0.0)


def sqlite_engine(
    url: URL, options: dict[str, Any], file: SqliteFile, kept: list[KeptConnection] | None
) -> Engine:
    """Make an engine for threads.

    Args:
        url: Of the standard library's driver.
        options: What the caller gave for the engine.
        file: How the file is opened.
        kept: For an engine of one connection at a time, which is put in this list before anything
            can interrupt; one in memory that is there already is used. ``None`` for a pool.

    Returns:
        The engine.
    """
    made = _with_short_waits(engine_options(url, options))
    if kept is not None and "poolclass" not in options:
        for name in _QUEUE_ONLY:
            made.pop(name, None)
        made["poolclass"] = StaticPool if is_in_memory(url) else SingletonThreadPool
        made["pool_reset_on_return"] = None  # each transaction is ended here
    engine = create_engine(url, **made)
    _listen(engine, file, None if "poolclass" in options else kept)
    return engine


def async_sqlite_engine(url: URL, options: dict[str, Any], file: SqliteFile) -> AsyncEngine:
    """Make an engine for an event loop.

    Args:
        url: Of an async driver.
        options: What the caller gave for the engine.
        file: How the file is opened.

    Returns:
        The engine.
    """
    engine = create_async_engine(url, **_with_short_waits(engine_options(url, options)))
    _listen(engine.sync_engine, file, None)
    return engine


def _with_short_waits(options: dict[str, Any]) -> dict[str, Any]:
    # SQLite and the pool wait a little only: between two such waits a call looks at its time, and
    # at whether it is still wanted.
    timeout = min(SLICE, float(options["connect_args"].get("timeout", SLICE)))
    options["connect_args"] = {**options["connect_args"], "timeout": timeout}
    if "pool_timeout" in options:
        options["pool_timeout"] = min(SLICE, options["pool_timeout"])
    return options


def identity_of(connection: Connection) -> FileIdentity | None:
    """Give what a connection of an engine that was made here has open; not one in memory."""
    found = connection.info.get(_IDENTITY)
    return found[0] if found else None


def _listen(engine: Engine, file: SqliteFile, kept: list[KeptConnection] | None) -> None:
    in_memory = is_in_memory(engine.url)

    def connect(dialect: Any, record: Any, given: list[Any], named: dict[str, Any]) -> Any:
        if not (in_memory or named.get("uri")):
            path = given[0]
            file.before(path)
            record.info[_BEFORE] = (path, FileIdentity.look(path))
        if kept is None:
            return None
        if not (in_memory and kept):
            # One step of Python's, so that none is opened that the list does not hold.
            made = MemoryConnection if in_memory else KeptConnection
            open_one = partial(dialect.loaded_dbapi.connect, **{"factory": made, **named})
            kept.extend(map(open_one, given))
        return kept[-1]

    def opened(connection: Any, record: Any) -> None:
        if _BEFORE not in record.info:
            return
        path, before = record.info.pop(_BEFORE)
        try:
            file.opened(connection, path)
            identity = [FileIdentity(path, before, log=_has_log(connection))]
        except BaseException:
            connection.close()
            raise
        record.info[_IDENTITY] = identity
        if isinstance(connection, KeptConnection):
            connection.identity = identity

    def closed(_: object, record: Any) -> None:
        _release(record.info.pop(_IDENTITY, None))

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", opened)
    event.listen(engine, "close", closed)


def _release(identity: list[FileIdentity] | None) -> None:
    while identity:
        identity.pop().closed()


_BEFORE, _IDENTITY = "sessionstore.before", "sessionstore.identity"


def _has_log(connection: Any) -> bool:
    """Read something, for which SQLite opens the log, and tell whether there is one."""
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT count(*) FROM sqlite_master")
        cursor.fetchall()
        cursor.execute("PRAGMA journal_mode")
        return str(cursor.fetchall()[0][0]) == "wal"
    finally:
        cursor.close()
