"""What all operations of a store share: its tables, and how long sessions live."""

from __future__ import annotations

from collections.abc import Callable

from sessionstore.rows.sessions import Readable
from sessionstore.sql.clock import now_of, oldest_of
from sessionstore.sql.column_types import MYSQL
from sessionstore.sql.database import AgentDb
from sessionstore.sql.tables import Tables

__all__ = ["Sessions"]


class Sessions:
    """The sessions of one store in its database.

    Args:
        db: The database.
        retention: How long a session is kept after its last write, in microseconds; ``None`` for
            good.

    Attributes:
        where: The store, as its ``repr`` names it.
        tables: Its tables.
        retention: As above.
        readable: What a list leaves out.
        is_postgres: An append and a deletion of messages are one statement.
        is_sqlite: What an insert leaves out is known from its count of rows.
        is_mysql: It is MySQL or MariaDB, which need some statements in another form.
        oldest: Gives the parameter of a statement that leaves out what has expired.
        oldest_kept: The same, also where what was live once counts as live to the end of a step.
        oldest_of_all: The same, of one that leaves out only what no retention keeps.
        now: Gives the parameter of a statement that sets a time.
        look_again: Has the tables looked for before the next statement, as before the first.
    """

    def __init__(self, db: AgentDb, retention: int | None) -> None:
        self.where: str = f"DbSessionStore({db!r})"
        self.tables: Tables = db.tables
        self.retention = retention
        self.readable: Readable = Readable()
        self.is_postgres: bool = db.dialect_name == "postgresql"
        self.is_sqlite: bool = db.dialect_name == "sqlite"
        self.is_mysql: bool = db.dialect_name in MYSQL
        self.oldest: Callable[[], int] = oldest_of(db.dialect_name, retention)
        self.oldest_kept: Callable[[], int] = self.oldest
        self.oldest_of_all: Callable[[], int] = oldest_of(db.dialect_name, None)
        self.now: Callable[[], int] = now_of(db.dialect_name)
        self.look_again: Callable[[], object] = db.look_again
