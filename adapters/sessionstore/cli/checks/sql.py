"""What an SQL database tells of itself: version, role, clock, tables, permissions, expiry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sessionstore.cli.checks.finding import Finding, clock, failed, latency, ok, reached, warning
from sessionstore.cli.times import shown
from sessionstore.models import from_microseconds
from sessionstore.sql.errors import is_missing_table, translated
from sessionstore.sql.making import blocking_engine, without_pool
from sessionstore.sql.tables import DEFAULT_PREFIX, Tables, tables_of
from sessionstore.sql.urls import url_of
from sessionstore.store import SessionStore

__all__ = ["check_sql"]

_OLDEST_POSTGRES = (15,)
_TIMEOUT = 5  # seconds
_WAITING = ("mariadb", "mysql", "postgresql")  # whose drivers know it by this name
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")


def check_sql(url: str, store: SessionStore) -> Iterator[Finding]:
    """Look at a database; nothing is made in it, so that the store is not used.

    Args:
        url: Where it is.
        store: The store in it.

    Yields:
        What was found.

    Raises:
        SessionStoreError: It does not answer.
    """
    database = url_of(url)
    waits = {"connect_timeout": _TIMEOUT} if database.get_backend_name() in _WAITING else {}
    engine = blocking_engine(database, without_pool({"connect_args": waits}))
    try:
        yield reached(store, lambda: engine.connect().close())
        with engine.connect() as connection:
            yield from _checked(connection)
    except SQLAlchemyError as error:
        raise translated(error) from error
    finally:
        engine.dispose()


def _checked(connection: Connection) -> Iterator[Finding]:
    tables, is_postgres = tables_of(DEFAULT_PREFIX, None, ()), _is_postgres(connection)
    yield latency(lambda: connection.scalar(select(1)))
    yield _version(connection)
    if is_postgres:
        yield _role(connection)
        yield clock(lambda: _time(connection))
    version = _stored_version(connection, tables)
    yield _schema(connection, tables, version)
    if is_postgres:
        yield _permissions(connection, tables, is_there=version > 0)
    if version:
        yield _expiry(connection, tables)


def _is_postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _version(connection: Connection) -> Finding:
    numbers = connection.dialect.server_version_info or ()
    shown_version = f"{connection.dialect.name} {'.'.join(map(str, numbers))}"
    if _is_postgres(connection) and numbers < _OLDEST_POSTGRES:
        return failed("version", f"{shown_version}: PostgreSQL 15 or later is needed")
    return ok("version", shown_version)


def _role(connection: Connection) -> Finding:
    if connection.scalar(text("SELECT pg_is_in_recovery()")):
        return failed("role", "a standby, which takes no writes: name the primary")
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        return failed("role", f"its encoding is {encoding}: make a database with UTF8")
    return ok("role", "takes writes, in UTF8")


def _time(connection: Connection) -> datetime:
    epoch = connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
    return datetime.fromtimestamp(float(epoch or 0), timezone.utc)


def _stored_version(connection: Connection, tables: Tables) -> int:
    try:
        with connection.begin_nested():
            return tables.stored_version(connection)
    except DBAPIError as error:
        if is_missing_table(error):
            return 0
        raise


def _schema(connection: Connection, tables: Tables, version: int) -> Finding:
    if version == 0:
        return warning("schema", "there are no tables yet: the first use makes them")
    if version > tables.version:
        return failed("schema", "a newer version of sessionstore made the tables: upgrade it")
    if not tables.has_leases(connection):
        return warning("schema", "the table of leases is missing: see AgentDb.ddl()")
    return ok("schema", f"the tables are of version {version}")


def _permissions(connection: Connection, tables: Tables, *, is_there: bool) -> Finding:
    """Tell whether the user may make the tables, or use those there are."""
    if not is_there:
        may = connection.scalar(
            text("SELECT has_schema_privilege(current_schema(), 'CREATE')"),
        )
        if not may:
            what = "the user may not create tables: grant CREATE on the schema, or run the DDL"
            return failed("permissions", what)
        return ok("permissions", "the user may create the tables")
    lacking = [
        f"{right} on {table.name}"
        for table in (tables.sessions, tables.messages)
        for right in _RIGHTS
        if not connection.scalar(
            select(func.has_table_privilege(table.name, right)),
        )
    ]
    if lacking:
        return failed("permissions", f"the user lacks {', '.join(lacking)}: grant it")
    return ok("permissions", "the user may read and write the tables")


def _expiry(connection: Connection, tables: Tables) -> Finding:
    oldest = connection.scalar(select(func.min(tables.sessions.c.updated_at)))
    if oldest is None:
        return ok("expiry", "there are no sessions yet")
    at = shown(from_microseconds(oldest))
    return ok("expiry", f"the oldest session was last written to at {at} UTC; prune deletes")
