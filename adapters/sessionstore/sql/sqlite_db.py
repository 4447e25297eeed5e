"""`SqliteAgentDb`: an SQLite file, through SQLAlchemy."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import URL

from sessionstore.sql.database import AgentDb
from sessionstore.sql.sqlite_engine import SqliteFile
from sessionstore.sql.tables import DEFAULT_PREFIX
from sessionstore.sqlite.file import checked_path

__all__ = ["SqliteAgentDb"]


class SqliteAgentDb(AgentDb):
    """An SQLite file, the same that `SQLiteSessionStore` writes: either opens the other's.

    So it is with the default ``table_prefix``, with which both leave a file of another application
    as it is. With a prefix of your own, or in ``AgentDb("sqlite:///app.db")``, the tables are put
    beside those that are there, and such a file is not one for `SQLiteSessionStore`.

    It is in write-ahead-log mode, and readable and writable by the user alone where it is made
    here. An async operation is one hop to a thread.

    Example:
        >>> from sessionstore import SqliteAgentDb
        >>> SqliteAgentDb()
        SqliteAgentDb('sqlite+pysqlite:///:memory:')

    Args:
        path: The file; ``":memory:"`` is a database of this object's own, one for all its
            threads and loops, gone when it is closed.
        timeout: How long an operation waits for other writers, in seconds.
        create_parents: Make the folder of the file where it is missing, and those above it: at
            once, and each for the user alone.
        options: As for `AgentDb`: ``table_prefix``, ``create_schema``, and SQLAlchemy's own.

    Raises:
        SessionStoreError: The file's folder does not exist, or the path is a folder; at the first
            use: the file is damaged, another application's, or of a newer version.
        StoreConnectionError: Its folder can't be made.
        ValueError: The prefix is not usable.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = ":memory:",
        *,
        timeout: float = 5.0,
        create_parents: bool = False,
        **options: Any,
    ) -> None:
        """Name the file; nothing is opened yet."""
        self._path = checked_path(path, create_parents=create_parents)
        super().__init__(
            URL.create("sqlite", database=self._path),
            **{**options, "connect_args": {"timeout": timeout, **options.get("connect_args", {})}},
        )

    def _sqlite_file(self) -> SqliteFile:
        is_shared = self._tables.prefix == DEFAULT_PREFIX
        return SqliteFile(required=True, shared=is_shared, write_ahead=True)
