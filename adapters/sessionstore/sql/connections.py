"""What an operation needs of an SQLAlchemy connection, whatever its driver and whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ManagesConnection

from sessionstore.sql.errors import cause, is_disconnect, translated
from sessionstore.sql.stale import is_stale
from sessionstore.sql.unsettled import WHO, Backend

__all__ = [
    "autocommit",
    "backend_of",
    "begin_writing",
    "forsake",
    "in_one_tongue",
    "replace_stale",
    "whole",
]

T = TypeVar("T")


@contextmanager
def in_one_tongue(engine: Engine) -> Iterator[None]:
    """Say as SQLAlchemy does what it hands on as a driver says it.

    So it does with what is said to a change of the isolation level, which takes a round trip on
    MySQL, so that a stale connection shows; and SQLAlchemy 2.0 with why asyncpg can't connect.
    """
    dbapi = engine.dialect.loaded_dbapi
    try:
        yield
    except dbapi.Error as error:
        raise DBAPIError(None, None, error, connection_invalidated=True) from error
    except _errors_of_asyncpg(dbapi) as error:
        raise DBAPIError(None, None, error) from error


def _errors_of_asyncpg(dbapi: Any) -> tuple[type[Exception], ...]:
    asyncpg = getattr(dbapi, "asyncpg", None)
    if asyncpg is None:
        return ()
    return asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError


def whole(step: Callable[[], T], repeatable: bool) -> T:
    """Carry out what takes effect as a whole; without its reply nobody knows whether it has."""
    try:
        return step()
    except DBAPIError as error:
        if repeatable or not is_disconnect(error):
            raise
        told, driver = translated(error), cause(error)
    raise told from driver  # out here, as it would have SQLAlchemy's, which holds parameters


def replace_stale(connection: Connection) -> None:
    """Replace a pooled connection that the server has closed meanwhile, without asking it."""
    while is_stale(connection.connection):
        connection.invalidate()


def forsake(engine: Engine, pooled: ManagesConnection, error: BaseException) -> None:
    """Have all pooled connections that are as old as one replaced before they are used again."""
    engine.pool._invalidate(cast("Any", pooled), error, _checkin=False)  # noqa: SLF001


_BACKEND = "sessionstore.backend"


def backend_of(connection: Connection) -> Backend | None:
    """Ask a new connection for the process of the server that serves it, and remember that.

    Args:
        connection: Of whatever driver.

    Returns:
        The process; ``None`` where a pooler stands before it, or it is not PostgreSQL's.
    """
    if connection.dialect.name != "postgresql":
        return None
    known = connection.info.get(_BACKEND, connection)
    if known is connection:
        with autocommit(connection, True):
            found = Backend(*connection.exec_driver_sql(WHO).one())
            connection.rollback()
        known = found if found.pid == _told_pid(connection.connection.driver_connection) else None
        connection.info[_BACKEND] = known
    return cast("Backend | None", known)


def _told_pid(driver: Any) -> int | None:
    asked = getattr(driver, "get_server_pid", None)  # asyncpg's
    return asked() if asked else getattr(getattr(driver, "info", None), "backend_pid", None)


@contextmanager
def autocommit(connection: Connection, wanted: bool) -> Iterator[None]:
    """Have a connection in autocommit, or out of it, for this once: it may be the caller's."""
    found = _is_autocommit(connection)
    if found is None or found == wanted:
        yield
        return
    try:
        _set_autocommit(connection, wanted)
    except Exception:
        connection.invalidate()
        raise
    try:
        yield
    finally:
        _restore_autocommit(connection, found)


def _restore_autocommit(connection: Connection, wanted: bool) -> None:
    try:
        if not (connection.invalidated or connection.closed):
            _set_autocommit(connection, wanted)
    except Exception:  # noqa: BLE001 - what was to be done is done, and its reply is what counts
        connection.invalidate()


def _is_autocommit(connection: Connection) -> bool | None:
    """Ask the driver, which knows, however it was told; ``None`` where there is no telling."""
    if connection.dialect.name == "sqlite":  # begins a transaction by a statement of its own
        return None
    asked = getattr(connection.connection.driver_connection, "get_autocommit", None)
    if asked is not None:  # MySQL's drivers
        return bool(asked())
    known = getattr(connection.connection.dbapi_connection, "autocommit", None)
    return known if isinstance(known, bool) else None


def _set_autocommit(connection: Connection, wanted: bool) -> None:
    driver: Any = connection.connection.dbapi_connection
    if callable(driver.autocommit):
        driver.autocommit(wanted)
    else:
        driver.autocommit = wanted
    if _is_autocommit(connection) != wanted:  # asyncpg's goes back to its engine's level
        level = "AUTOCOMMIT" if wanted else "READ COMMITTED"
        connection.execution_options(isolation_level=level)


def begin_writing(connection: Connection) -> None:
    """Begin SQLite's transactions as writing ones, unless one has begun."""
    if connection.dialect.name != "sqlite":
        return
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        # One that begins by reading could not go on to write once another had written.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
