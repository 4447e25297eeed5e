"""The time in an SQL database: its server's, or on SQLite this machine's.

A client's clock orders nothing and expires nothing where there is a server: times that are
compared, and times that are stored, are those of the server, in the statement itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, Integer, Table, bindparam, cast, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from sessionstore._runtime.clock import clock
from sessionstore.rows.sessions import LATEST

__all__ = [
    "BEGAN",
    "NOW",
    "OLDEST",
    "newest",
    "next_time",
    "now",
    "now_of",
    "oldest_live",
    "oldest_of",
]

_FOR_GOOD = 2**62
_NOW = "CAST(extract(epoch FROM {}()) * 1000000 AS bigint)"
NOW = _NOW.format("clock_timestamp")
"""PostgreSQL's time, in microseconds since 1970."""
BEGAN = _NOW.format("statement_timestamp")
"""The same when the statement began, by which an index can be searched."""
OLDEST = f"greatest({BEGAN} - CAST(:oldest AS bigint), 0)"
"""PostgreSQL's time before which a session has expired; the parameter is `oldest_of`'s."""
_MYSQL_NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"


class oldest_live(FunctionElement[int]):  # noqa: N801 - it is written as a function
    """The time before which a session has expired; its argument is the parameter ``oldest``."""

    type: Any = BigInteger()
    inherit_cache: bool | None = True
    name = "oldest_live"

    def __init__(self) -> None:
        """Take the parameter that `oldest_of` leads to."""
        super().__init__(bindparam("oldest", type_=BigInteger))


class now(FunctionElement[int]):  # noqa: N801 - as above
    """The server's time, in microseconds since 1970; on SQLite the parameter ``now``."""

    type: Any = BigInteger()
    inherit_cache: bool | None = True
    name = "now"

    def __init__(self) -> None:
        """Take the parameter that `now_of` leads to."""
        super().__init__(bindparam("now", type_=BigInteger))


@compiles(oldest_live)
def _oldest(element: oldest_live, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(oldest_live, "postgresql")
def _oldest_on_postgres(element: oldest_live, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({BEGAN} - CAST({compiler.process(element.clauses, **kw)} AS bigint), 0)"


@compiles(oldest_live, "mysql")
@compiles(oldest_live, "mariadb")
def _oldest_on_mysql(element: oldest_live, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({_MYSQL_NOW} - {compiler.process(element.clauses, **kw)}, 0)"


@compiles(now)
def _now(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(now, "postgresql")
def _now_on_postgres(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    del element, compiler, kw
    return NOW


@compiles(now, "mysql")
@compiles(now, "mariadb")
def _now_on_mysql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    del element, compiler, kw
    return _MYSQL_NOW


def oldest_of(dialect_name: str, retention: int | None) -> Callable[[], int]:
    """Give what gives the parameter of `oldest_live`.

    Args:
        dialect_name: Where it goes.
        retention: How long sessions are kept, in microseconds; ``None`` for good.

    Returns:
        Gives a time on SQLite; elsewhere how long before the server's time it is.
    """
    if dialect_name == "sqlite":
        return partial(clock.oldest_live, retention)
    return partial(int, _FOR_GOOD if retention is None else retention)


def now_of(dialect_name: str) -> Callable[[], int]:
    """Give what gives the parameter of `now`: the time on SQLite, and elsewhere nothing."""
    return partial(clock.stamp, 0) if dialect_name == "sqlite" else int


def newest(sessions: Table) -> Any:
    """Give the time of the newest write to any session, from the index; 0 where there is none."""
    others = sessions.alias()
    at = others.c.updated_at
    found = select(at).where(at < LATEST).order_by(at.desc()).limit(1).scalar_subquery()
    return func.coalesce(cast(found, BigInteger().with_variant(Integer(), "sqlite")), 0)


class later(FunctionElement[int]):  # noqa: N801 - as above
    """The latest of some times."""

    type: Any = BigInteger()
    inherit_cache: bool | None = True
    name = "later"


@compiles(later)
def _later(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **kw)})"


@compiles(later, "sqlite")
def _later_on_sqlite(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    return f"max({compiler.process(element.clauses, **kw)})"


def next_time(sessions: Table) -> Any:
    """Give the time of a write to a session that is locked: no list runs backwards by it."""
    return later(now(), newest(sessions) + 1, sessions.c.updated_at + 1)
