"""The types of the columns in an SQL database: ids are any text, compared as it is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = ["JSON_TEXT", "KEY", "MYSQL", "Id", "escaped", "unescaped"]

MYSQL = ("mysql", "mariadb")
"""The names of the dialects that are MySQL's."""
_ESCAPE = "\x1a"
_LONGEST_ID = 512 * 4  # bytes of UTF-8


class Id(TypeDecorator[str]):
    """Any text, compared as it is: case, accents and spaces at its end all count."""

    impl: Any = Text
    cache_ok: bool | None = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Give the type that compares ids as they are, in each kind of database."""
        if dialect.name in MYSQL:
            # Its text types ignore case or the spaces at the end, as the collation has it.
            return dialect.type_descriptor(mysql.VARBINARY(_LONGEST_ID))
        if dialect.name == "postgresql":
            # No index on it breaks when the collations of the system change.
            return dialect.type_descriptor(Text(collation="C"))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Give an id as it is stored."""
        if value is not None and dialect.name in MYSQL:
            return value.encode()
        if value is not None and dialect.name == "postgresql":
            return escaped(value)
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Give an id that was stored."""
        if value is None:
            return None
        if dialect.name in MYSQL:
            return bytes(value).decode()
        if dialect.name == "postgresql":
            return unescaped(value)
        try:
            return value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            return value  # what is no text is for the reader to refuse


def escaped(value: str) -> str:
    r"""Write an id without NUL, which PostgreSQL can't store; no two ids become the same.

    Example:
        >>> from sessionstore.sql.column_types import escaped
        >>> escaped("plain"), escaped("NUL: \0")
        ('plain', 'NUL: \x1a0')

    Args:
        value: The id.

    Returns:
        The same id where it holds neither NUL nor the control character that marks an escape.
    """
    return value.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")


def unescaped(value: str) -> str:
    """Give back what `escaped` has written."""
    return value.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)


JSON_TEXT = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), *MYSQL)
# An INTEGER PRIMARY KEY is what SQLite numbers by itself.
KEY = BigInteger().with_variant(Integer(), "sqlite")
