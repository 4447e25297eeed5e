"""What an operation needs of an SQLAlchemy connection, whatever its driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from sessionstore.sql.errors import cause, is_disconnect, translated
from sessionstore.sql.stale import is_stale
from sessionstore.sql.unsettled import WHO, Backend

__all__ = [
    "autocommit",
    "backend_of",
    "raise_if_indeterminate",
    "replace_stale",
    "wrap_driver_errors",
]

T = TypeVar("T")


@contextmanager
def wrap_driver_errors(engine: Engine) -> Iterator[None]:
    """Wrap in SQLAlchemy's errors those of a driver that it lets through as they are.

    These are the errors of a change of the isolation level, which takes a round trip on MySQL, so
    that a stale connection shows; and in SQLAlchemy 2.0 those of asyncpg when it can't connect.
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


def raise_if_indeterminate(step: Callable[[], T], repeatable: bool) -> T:
    """Carry out a step; where it is lost without a reply and not repeatable, give it up for good.

    Nobody knows then whether it took effect, so it must not be tried again.
    """
    try:
        return step()
    except DBAPIError as error:
        if repeatable or not is_disconnect(error):
            raise
        ours, driver = translated(error), cause(error)
    raise ours from driver  # out here, as it would have SQLAlchemy's, which holds parameters


def replace_stale(connection: Connection) -> None:
    """Replace a pooled connection that is of no more use, without asking the server."""
    while is_stale(connection.connection, connection.engine.pool):
        connection.invalidate()


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
        known = found if found.pid == _pid_of(connection.connection.driver_connection) else None
        connection.info[_BACKEND] = known
    return cast("Backend | None", known)


def _pid_of(driver: Any) -> int | None:
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
    """Ask the driver, which knows however it was set; ``None`` where it does not say."""
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
