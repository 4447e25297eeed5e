"""What all operations of a store share: its database, its tables, and how long sessions live."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from sessionstore.rows import Readable
from sessionstore.sql.clock import oldest, times
from sessionstore.sql.column_types import MYSQL
from sessionstore.sql.database import AgentDb
from sessionstore.sql.direct import Query
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.tables import Tables

__all__ = ["Sessions"]

T = TypeVar("T")


class Sessions:
    """The sessions of one store in its database.

    Args:
        db: The database.
        retention: How long a session is kept after its last write, in microseconds; ``None`` for
            good.

    Attributes:
        db: The database.
        tables: Its tables.
        retention: As above.
        readable: What a list leaves out.
        is_postgres: An append and a deletion of messages are one statement.
        is_mysql: It is MySQL or MariaDB, which need some statements in another form.
    """

    def __init__(self, db: AgentDb, retention: int | None) -> None:
        self.db = db
        self.tables: Tables = db.tables
        self.retention = retention
        self.readable: Readable = Readable()
        self._dialect = db.dialect_name
        self._is_timed_here = self._dialect == "sqlite"
        self._oldest = oldest(self._dialect, retention)
        self.is_postgres: bool = self._dialect == "postgresql"
        self.is_mysql: bool = self._dialect in MYSQL

    def in_transaction(
        self, work: Callable[[Connection], T], session_id: str | None = None
    ) -> SqlFlow[T]:
        """Carry out some work in one transaction.

        Args:
            work: Some statements; they may be run again from the start.
            session_id: The session that they write to, where it is one.

        Returns:
            A flow, whose result is the work's.
        """
        return self.db.operation(Work(work, session=session_id))

    def query(
        self, query: Query, session: Hashable | None = None, *, repeatable: bool = True
    ) -> SqlFlow[Sequence[Any]]:
        """Carry out a statement that is an operation by itself.

        Args:
            query: The statement.
            session: What it is about, where that is one session: its writes, or its reads.
            repeatable: It may be sent again when the connection was lost before the reply.

        Returns:
            A flow, whose result is the rows.
        """
        work: Work[Sequence[Any]] = Work(query, True, repeatable, session)
        return self.db.operation(work)

    def times(self) -> dict[str, int]:
        """Give the parameters of a statement that compares and sets times: see `clock.times`."""
        return times(self._dialect, self.retention)

    def oldest(self) -> int:
        """Give the parameter of a statement that leaves out what has expired."""
        return oldest(self._dialect, self.retention) if self._is_timed_here else self._oldest
