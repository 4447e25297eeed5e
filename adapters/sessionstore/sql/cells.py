"""What comes out of an SQL table, whatever is in it: SQLite's columns hold values of any type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from sessionstore.errors import CorruptMessageError
from sessionstore.rows.sessions import Row

__all__ = ["checked", "checked_head", "number", "raw", "raw_columns"]

_NUMBERS = ("session_key", "created_at", "updated_at", "version", "message_count", "last_position")


class raw(FunctionElement[Any]):  # noqa: N801 - it is written as a function
    """Text as its bytes on SQLite, whose driver would quote what is not UTF-8 in an error."""

    inherit_cache: bool | None = True
    name = "raw"

    def __init__(self, column: ColumnElement[Any]) -> None:
        """Take a column of text."""
        super().__init__(column)
        self.type: Any = column.type


@compiles(raw)
def _as_it_is(element: raw, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(raw, "sqlite")
def _as_bytes(element: raw, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS BLOB)"


class number(FunctionElement[Any]):  # noqa: N801 - as above
    """A number; what SQLite has in its place as text, as bytes: see `raw`."""

    inherit_cache: bool | None = True
    name = "number"

    def __init__(self, column: ColumnElement[Any]) -> None:
        """Take a column of numbers."""
        super().__init__(column)
        self.type: Any = column.type


@compiles(number)
def _number_as_it_is(element: number, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(number, "sqlite")
def _number_or_bytes(element: number, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.clauses, **kw)
    return f"CASE typeof({column}) WHEN 'text' THEN CAST({column} AS BLOB) ELSE {column} END"


def raw_columns(columns: Iterable[ColumnElement[Any]]) -> list[Any]:
    """Give the columns of the table of sessions, its text by `raw`."""
    return [
        (number if column.key in _NUMBERS else raw)(column).label(str(column.key))
        for column in columns
    ]


def checked(columns: Sequence[Any]) -> Row:
    """Make a row of the columns of the table of sessions.

    Args:
        columns: Their values.

    Returns:
        The row. Whether its metadata can be read shows when it is.

    Raises:
        CorruptMessageError: One of them is not what a store has written.
    """
    row = Row._make(columns)
    row.require_sound()
    return row


def checked_head(session_id: str, rows: Sequence[Any], first: int) -> Any:
    """Check the rows of a read: the position of each, and the body of those behind the head.

    Args:
        session_id: Named by the error.
        rows: What `reading` gave.
        first: The least kind of a row that is a message.

    Returns:
        The head: the row that is of the session itself; ``None`` where there is no session.

    Raises:
        CorruptMessageError: One of them is not what a store has written.
    """
    head = None
    for row in rows:
        if row[0] < first:
            head = row
        if type(row[1]) is int:
            fits = row[0] < first or row[2] is not None
        else:
            fits = row[0] < first and row[1] is None
        if not fits:
            raise CorruptMessageError(f"session {session_id!r}: a stored message can't be read")
    return head
