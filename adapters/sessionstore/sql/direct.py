"""A single statement: sent by psycopg itself, where SQLAlchemy has nothing to do but to send it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Connection, Dialect, Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ManagesConnection
from sqlalchemy.util import greenlet_spawn

from sessionstore.sql.connections import forsake
from sessionstore.sql.errors import (
    cause,
    is_disconnect,
    is_read_only,
    is_unprepared,
    translated,
)
from sessionstore.sql.loop_pool import LoopPool
from sessionstore.sql.stale import is_stale

__all__ = ["Query", "asent", "sent"]


@dataclass(frozen=True)
class Query:
    """A statement that gives rows, and its parameters.

    Attributes:
        statement: SQLAlchemy's; one of those in `statements`, where each is made once.
        values: Its parameters.
    """

    statement: Any
    values: dict[str, Any]

    def __call__(self, connection: Connection) -> Sequence[Any]:
        """Send it on a connection of whatever driver.

        Args:
            connection: Where to.

        Returns:
            The rows.

        Raises:
            SQLAlchemyError: The database refuses, or the connection is lost.
        """
        watched = connection.get_execution_options() or _is_watched(connection.engine)
        if watched or connection.dialect.driver != "psycopg":
            return connection.execute(self.statement, self.values).all()
        made = _compiled(self.statement, connection.dialect)
        return made.rows(_by_driver(connection, made.sql, made.values(self.values)))


def sent(engine: Engine, query: Query, repeatable: bool) -> Sequence[Any] | None:
    """Send a statement on a connection of the pool, past SQLAlchemy's `Connection`.

    Args:
        engine: Of psycopg, with connections in autocommit.
        query: What to send.
        repeatable: It may be sent again when the connection was lost before the reply.

    Returns:
        The rows; ``None`` where someone listens to the engine, or it is not in autocommit, and
        nothing was sent.

    Raises:
        SQLAlchemyError: The database refuses, or the connection is lost.
        StoreUnavailableError: It was lost, and what it did, nobody knows.
    """
    if _is_watched(engine):
        return None
    made = _compiled(query.statement, engine.dialect)
    values = made.values(query.values)
    pooled = _checked_out(engine)
    try:
        driver: Any = pooled.driver_connection
        if not driver.autocommit:
            return None
        rows: Sequence[Any] = driver.execute(made.sql, values).fetchall()
    except BaseException as error:
        _refuse(error, engine, pooled, repeatable)
        raise
    finally:
        pooled.close()
    return made.rows(rows)


async def asent(engine: Engine, query: Query, repeatable: bool) -> Sequence[Any] | None:
    """Async twin of `sent`."""
    if _is_watched(engine):
        return None
    made = _compiled(query.statement, engine.dialect)
    values = made.values(query.values)
    pool = engine.pool
    if isinstance(pool, LoopPool) and (entry := pool.take()):
        try:
            rows = await _received(engine, entry, made.sql, values, repeatable)
        finally:
            pool.give_back(entry)
    else:
        pooled = await greenlet_spawn(_checked_out, engine)
        try:
            rows = await _received(engine, pooled, made.sql, values, repeatable)
        finally:
            await greenlet_spawn(pooled.close)
    return None if rows is None else made.rows(rows)


async def _received(
    engine: Engine, pooled: ManagesConnection, sql: str, values: dict[str, Any], repeatable: bool
) -> Sequence[Any] | None:
    driver: Any = pooled.driver_connection
    if not driver.autocommit:
        return None
    try:
        cursor = await driver.execute(sql, values)
        rows: Sequence[Any] = await cursor.fetchall()
    except BaseException as error:
        await greenlet_spawn(_refuse, error, engine, pooled, repeatable)
        raise
    return rows


def _checked_out(engine: Engine) -> PoolProxiedConnection:
    """Take a connection from the pool, and replace one that the server has closed meanwhile."""
    try:
        while is_stale(pooled := engine.raw_connection()):
            pooled.invalidate()
    except engine.dialect.loaded_dbapi.Error as error:
        raise _told(error, engine, lost=False) from error
    return pooled


def _refuse(
    error: BaseException, engine: Engine, pooled: ManagesConnection, repeatable: bool
) -> None:
    """Say an error as SQLAlchemy does, and give up a connection that is of no more use."""
    if not isinstance(error, engine.dialect.loaded_dbapi.Error):
        pooled.invalidate()  # cancelled, perhaps with the reply still under way
        return
    lost = engine.dialect.is_disconnect(error, pooled.dbapi_connection, None)
    told = _told(error, engine, lost=lost)
    leads_nowhere = lost or is_read_only(told)
    if leads_nowhere:  # so do all that are as old
        forsake(engine, pooled, error)
    if leads_nowhere or is_unprepared(told):
        pooled.invalidate(error)
    if is_disconnect(told) and not repeatable:
        raise translated(told) from cause(told)
    raise told from error


def _told(error: Exception, engine: Engine, *, lost: bool) -> DBAPIError:
    base = engine.dialect.loaded_dbapi.Error
    told = DBAPIError.instance(
        None, None, error, base, connection_invalidated=lost, dialect=engine.dialect
    )
    return cast("DBAPIError", told)


def _is_watched(engine: Engine) -> bool:
    """Tell whether SQLAlchemy has more to do for a statement than to send it."""
    heard, passed = engine.dispatch, engine.dialect.dispatch
    return bool(
        engine.logger.isEnabledFor(logging.INFO)
        or engine.get_execution_options()
        or heard.engine_connect
        or heard.begin
        or heard.before_execute
        or heard.after_execute
        or heard.before_cursor_execute
        or heard.after_cursor_execute
        or passed.do_execute
        or passed.handle_error
    )


def _by_driver(connection: Connection, sql: str, values: dict[str, Any]) -> Sequence[Any]:
    """Send a statement by the driver itself; its errors are told as SQLAlchemy does."""
    driver: Any = connection.connection.dbapi_connection
    cursor: Any = None
    try:
        cursor = driver.cursor()
        cursor.execute(sql, values)
        rows: Sequence[Any] = cursor.fetchall()
        cursor.close()
    except connection.dialect.loaded_dbapi.Error as error:
        # Where the connection was lost, so that the pool replaces all that are as old.
        connection._handle_dbapi_exception(error, None, None, cursor, None)  # noqa: SLF001
    except BaseException:
        connection.invalidate()  # cancelled, perhaps with the reply still under way
        raise
    return rows


class _Compiled:
    """A statement as a driver takes it, made once.

    SQLAlchemy would look it up, and at each value and column of a row, each time: that takes
    longer than all else that psycopg and we do for it.
    """

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        columns = getattr(statement, "selected_columns", ())
        self.sql = str(compiled)
        self._constants = compiled.params
        self._binds = [
            (name, process)
            for bind, name in compiled.bind_names.items()
            if (process := bind.type.dialect_impl(dialect).bind_processor(dialect))
        ]
        self._results = [
            (place, process)
            for place, column in enumerate(columns)
            if (process := column.type.dialect_impl(dialect).result_processor(dialect, None))
        ]

    def values(self, given: dict[str, Any]) -> dict[str, Any]:
        values = {**self._constants, **given}
        for name, process in self._binds:
            values[name] = process(values[name])
        return values

    def rows(self, found: Sequence[Any]) -> Sequence[Any]:
        for n, process in self._results:
            found = [
                row if row[n] is None else (*row[:n], process(row[n]), *row[n + 1 :])
                for row in found
            ]
        return found


_compiled = lru_cache(maxsize=64)(_Compiled)
