"""The rows of other libraries' tables, grouped by session, through SQLAlchemy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias
from uuid import UUID

try:
    from sqlalchemy import (
        ARRAY,
        URL,
        ColumnElement,
        Connection,
        Engine,
        LargeBinary,
        Text,
        case,
        cast,
        column,
        create_engine,
        inspect,
        literal_column,
        select,
        table,
        text,
    )
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool
    from sqlalchemy.sql.elements import NamedColumn, quoted_name
except ImportError as _error:
    raise ImportError(
        "to read another library's tables needs the sql extra: pip install 'sessionstore[sql]', "
        "or 'sessionstore[postgres]' for PostgreSQL"
    ) from _error

from sessionstore.sql.errors import cause, translated
from sessionstore.sql.making import with_driver
from sessionstore.sql.urls import url_of
from sessionstore.transfer.readers.building import Found, Part, Source, today
from sessionstore.transfer.readers.files import file_time, read_only
from sessionstore.transfer.readers.unreadable import SourceError

__all__ = [
    "Url",
    "file_or_today",
    "moment",
    "opened",
    "require_table",
    "row_of",
    "table_source",
    "text",
    "text_column",
    "texts_column",
    "time_column",
]

Url: TypeAlias = str | os.PathLike[str]
"""SQLAlchemy's URL, or a SQLite file."""

_PAGE = 500


@contextmanager
def opened(url: Url) -> Iterator[Connection]:
    """Open a database to read it in one transaction, row by row: a file of SQLite read-only.

    Args:
        url: SQLAlchemy's URL, with whatever driver; or a SQLite file.

    Yields:
        The connection. What the driver raises while it is open is translated.

    Raises:
        SourceError: There is no such file.
        SessionStoreError: The database can't be reached, or read.
    """
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            yield connection.execution_options(stream_results=True, yield_per=_PAGE)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise translated(error) from cause(error)
    finally:
        engine.dispose()


def file_or_today(url: Url) -> datetime:
    """Give when a SQLite file was last changed; of another database, the beginning of this day.

    Raises:
        SourceError: It is no URL.
    """
    known = _known(url)
    is_file = known.get_backend_name() == "sqlite" and os.path.isfile(known.database or "")
    return file_time(str(known.database)) if is_file else today()


def _known(url: Url) -> URL:
    given = os.fspath(url)
    if "://" not in given:
        given = f"sqlite:///{given}"
    try:
        return with_driver(url_of(given), is_async=False)
    except ValueError as error:
        raise SourceError(str(error)) from None


def _engine(url: Url) -> Engine:
    known = _known(url)
    if known.get_backend_name() != "sqlite":
        return create_engine(known, poolclass=NullPool)
    if not known.database or not os.path.isfile(known.database):
        raise SourceError(f"there is no such SQLite file: {known.database or '(none is named)'}")
    connect = partial(read_only, known.database)
    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def text_column(name: str) -> NamedColumn[Any]:
    """Give a column as text: JSON, too, as it is stored."""
    return cast(_column(name), Text).label(name)


def table_source(
    url: Url,
    tables: Sequence[str],
    parts: Callable[[str, Iterable[Any]], Iterable[Part]],
    *,
    schema: str | None,
    session: str,
    columns: Sequence[str | NamedColumn[Any]],
    order: Sequence[str],
    when: datetime | None = None,
) -> Source:
    """Give the sessions of a table.

    Args:
        url: The database.
        tables: The table, or names that it may have: the first that is there.
        parts: What gives the messages of the table's name and a session's rows, which have the
            columns, and the session's id behind them.
        schema: The schema it is in; ``None`` for the connection's own.
        session: The column with the session's id.
        columns: The columns to read.
        order: The columns that order a session's rows.
        when: The time of sessions without messages.

    Yields:
        Each session: to be gone through before the next one is asked for.

    Raises:
        SourceError: There is no such file or table.
        SessionStoreError: The database can't be reached, or read.
    """
    with opened(url) as connection:
        name = _chosen(connection, schema, tables)
        read = [_column(it) if isinstance(it, str) else it for it in columns]
        _require_columns(connection, schema, name, [session, *order, *(it.name for it in read)])
        known = _column(session)
        query = (
            select(*read, known)
            .select_from(table(quoted_name(name, quote=True), schema=_quoted(schema)))
            .order_by(_by_bytes(connection.dialect.name, known), *map(_column, order))
        )
        with connection.execute(query) as found:
            for key, rows in groupby(_translated(found), key=itemgetter(-1)):
                known_as = str(key) if isinstance(key, UUID) else key
                where = f"{name}, {session} {known_as!r:.80}"
                yield Found(known_as, where, parts(name, rows), created_at=when)


def _by_bytes(dialect: str, known: NamedColumn[Any]) -> ColumnElement[Any]:
    """Give what orders ids: a collation may take two for the same, and mix their rows."""
    if dialect in ("mysql", "mariadb"):
        return cast(known, LargeBinary)
    return known.collate("BINARY") if dialect == "sqlite" else known


def _translated(rows: Iterable[Any]) -> Iterator[Any]:
    # They are read outside of `opened`: where the messages are gone through.
    try:
        yield from rows
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise translated(error) from cause(error)


def row_of(name: str, row_id: Any) -> str:
    """Give the place of a row, as `Unreadable` says it, whatever stands in the place of its id."""
    shown = repr(row_id) if isinstance(row_id, (str, bytes)) else str(row_id)
    return f"{name}, row {shown:.80}"


def require_table(connection: Connection, name: str) -> None:
    """Refuse a database without a table.

    Raises:
        SourceError: It is not there.
    """
    _chosen(connection, None, [name])


def _chosen(connection: Connection, schema: str | None, names: Sequence[str]) -> str:
    """Give the first of some tables that is there."""
    inspector = inspect(connection)
    for name in names:
        if inspector.has_table(name, schema=schema):
            return name
    raise SourceError(f"the database has no table {' or '.join(names)}: name another by table=")


def texts_column(name: str) -> NamedColumn[Any]:
    """Give a column of PostgreSQL that is an array of JSON, as an array of texts."""
    return cast(_column(name), ARRAY(Text)).label(name)


def time_column(name: str) -> NamedColumn[Any]:
    """Give a column of times; what Python has no time for, as infinity, would end a reading."""
    known = _column(name)
    first: NamedColumn[Any] = literal_column("'0002-01-01'")
    last: NamedColumn[Any] = literal_column("'9999-12-30'")
    return case((known.between(first, last), known)).label(name)


def _require_columns(
    connection: Connection, schema: str | None, name: str, columns: Iterable[str]
) -> None:
    # SQLite takes the name of a column that is not there for a text.
    known = {it["name"] for it in inspect(connection).get_columns(name, schema=schema)}
    missing = sorted({*columns} - known)
    if missing:
        raise SourceError(f"the table {name} has no column {' and no column '.join(missing)}")


def _column(name: str) -> NamedColumn[Any]:
    return column(quoted_name(name, quote=True))


def _quoted(schema: str | None) -> str | None:
    return None if schema is None else quoted_name(schema, quote=True)


def moment(value: Any) -> datetime | None:
    """Give a time of a database in UTC; ``None`` where it is none. What has no zone is in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.replace(tzinfo=value.tzinfo or timezone.utc).astimezone(timezone.utc)
    except (OverflowError, ValueError):
        return None
