"""A single statement: sent by psycopg itself, where SQLAlchemy has nothing to do but to send it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, Dialect, Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import greenlet_spawn

from sessionstore.sql.errors import (
    cause,
    is_disconnect,
    is_read_only,
    is_unprepared,
    translated,
)
from sessionstore.sql.loop_pool import empty_if_expired, ready_connection
from sessionstore.sql.stale import expire_pool, is_stale

__all__ = ["Query", "Values", "asent", "sent"]


class Values(dict[str, Any]):
    """A statement's parameters by their names, which are in the frames of every error of it."""

    def __repr__(self) -> str:
        """Tell their names: never what they are."""
        return f"<{', '.join(self)}>"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return list(self)


class Query(msgspec.Struct, frozen=True):
    """A statement that gives rows, and its parameters.

    Attributes:
        statement: SQLAlchemy's; one of those in `read_statements` or `write_statements`, which
            are made once.
        values: Its parameters.
    """

    statement: Any
    values: Values

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
    values = made.values(query.values) if made.processes else query.values
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
    return made.rows(rows) if made.results else rows


async def asent(engine: Engine, query: Query, repeatable: bool) -> Sequence[Any] | None:
    """Async twin of `sent`."""
    if _is_watched(engine):
        return None
    made = _compiled(query.statement, engine.dialect)
    values = made.values(query.values) if made.processes else query.values
    if ready := ready_connection(engine):
        try:
            rows = await _received(engine, ready, made.sql, values, repeatable)
        finally:
            ready.close()
    else:
        pooled = await greenlet_spawn(_checked_out_of_loop, engine)
        try:
            rows = await _received(engine, pooled, made.sql, values, repeatable)
        finally:
            await greenlet_spawn(pooled.close)
    return rows if rows is None or not made.results else made.rows(rows)


async def _received(
    engine: Engine,
    pooled: PoolProxiedConnection,
    sql: str,
    values: Values,
    repeatable: bool,
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


def _checked_out_of_loop(engine: Engine) -> PoolProxiedConnection:
    empty_if_expired(engine)
    return _checked_out(engine)


def _checked_out(engine: Engine) -> PoolProxiedConnection:
    """Take a connection from the pool, and replace one that is of no more use."""
    try:
        while is_stale(pooled := engine.raw_connection(), engine.pool):
            pooled.invalidate()
    except engine.dialect.loaded_dbapi.Error as error:
        raise _wrapped(error, engine, lost=False) from error
    return pooled


def _refuse(
    error: BaseException, engine: Engine, pooled: PoolProxiedConnection, repeatable: bool
) -> None:
    """Raise an error as SQLAlchemy does, and give up a connection that is of no more use."""
    if not isinstance(error, engine.dialect.loaded_dbapi.Error):
        pooled.invalidate()  # cancelled, perhaps with the reply still under way
        return
    lost = engine.dialect.is_disconnect(error, pooled.dbapi_connection, None)
    wrapped = _wrapped(error, engine, lost=lost)
    leads_nowhere = lost or is_read_only(wrapped)
    if leads_nowhere:  # so do all that are as old
        expire_pool(engine.pool)
    if leads_nowhere or is_unprepared(wrapped):
        pooled.invalidate(error)
    if is_disconnect(wrapped) and not repeatable:
        raise translated(wrapped) from cause(wrapped)
    raise wrapped from error


def _wrapped(error: Exception, engine: Engine, *, lost: bool) -> DBAPIError:
    base = engine.dialect.loaded_dbapi.Error
    wrapped = DBAPIError.instance(
        None, None, error, base, connection_invalidated=lost, dialect=engine.dialect
    )
    return cast("DBAPIError", wrapped)


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


def _by_driver(connection: Connection, sql: str, values: Values) -> Sequence[Any]:
    """Send a statement by the driver itself; its errors are wrapped as SQLAlchemy does."""
    driver: Any = connection.connection.dbapi_connection
    try:
        cursor = driver.cursor()
        try:
            cursor.execute(sql, values)
            return cast("Sequence[Any]", cursor.fetchall())
        finally:
            cursor.close()
    except connection.dialect.loaded_dbapi.Error as error:
        lost = connection.dialect.is_disconnect(error, driver, None)
        if lost:
            expire_pool(connection.engine.pool)
            connection.invalidate(error)
        raise _wrapped(error, connection.engine, lost=lost) from error
    except BaseException:
        connection.invalidate()  # cancelled, perhaps with the reply still under way
        raise


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
        # Whether they are not sent as they are given: one that must be given is no constant.
        self.processes = bool(self._binds or set(self._constants.values()) - {None})
        self.results = [
            (place, process)
            for place, column in enumerate(columns)
            if (process := column.type.dialect_impl(dialect).result_processor(dialect, None))
        ]

    def values(self, given: Values) -> Values:
        values = Values({**self._constants, **given})
        for name, process in self._binds:
            values[name] = process(values[name])
        return values

    def rows(self, found: Sequence[Any]) -> Sequence[Any]:
        for n, process in self.results:
            found = [
                row if row[n] is None else (*row[:n], process(row[n]), *row[n + 1 :])
                for row in found
            ]
        return found


_compiled = lru_cache(maxsize=64)(_Compiled)
