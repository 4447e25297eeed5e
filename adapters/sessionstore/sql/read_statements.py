"""The statements that read a session: one round trip each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Text,
    bindparam,
    literal_column,
    null,
    or_,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.sql.selectable import ScalarSelect

from sessionstore.sql.cells import number, raw, raw_columns
from sessionstore.sql.clock import oldest_live
from sessionstore.sql.tables import Tables

__all__ = ["FIRST", "HEAD", "LAST", "Reading", "reading", "seeking"]

HEAD, FIRST, LAST = 0, 1, 2
"""What a row of `reading` is: the session itself, its first message, one of those asked for."""


class Reading(NamedTuple):
    """What a read asks for; each kind of read has one statement.

    Attributes:
        limited: Only the last ``limit`` messages.
        named: Only messages before the one with the id ``message``, or behind it.
        owned: The caller is checked.
        keep_system: The session's first message too.
        forward: Behind it, and the first ``limit`` of all that are to be read.
        sought: The position of the message is given, as ``place``.
        whole: All that is known of the session, not its owner alone.
    """

    limited: bool
    named: bool
    owned: bool
    keep_system: bool
    forward: bool = False
    sought: bool = False
    whole: bool = False


@lru_cache(maxsize=64)
def reading(tables: Tables, asked: Reading) -> Any:
    """Make the statement that reads a session with its messages.

    Its rows are in no order: what the row is (`HEAD`, …), a position, a body, and with `HEAD` the
    session's owner, or as asked all its columns. That row's position is that of the message named.
    There is no row at all where there is no session; and no message where the caller may not read
    it.

    Args:
        tables: The store's.
        asked: What is to be read.

    Returns:
        A statement with the parameters ``session_id``, ``oldest`` (see
        `oldest_live`), and as asked ``user_id``, ``message`` or ``place``, ``limit``.
    """
    head = (
        select(*tables.sessions.c)
        .where(
            tables.sessions.c.id == bindparam("session_id"),
            tables.sessions.c.updated_at >= oldest_live(),
        )
        .cte("head")
    )
    readable = select(head.c.session_key)
    if asked.owned:
        owner = bindparam("user_id", type_=tables.sessions.c.user_id.type)
        readable = readable.where(or_(head.c.user_id.is_(None), head.c.user_id == owner))
    key = readable.scalar_subquery()
    place: ColumnElement[Any] | None = _position(tables, key) if asked.named else None
    if asked.sought:
        place = bindparam("place", type_=BigInteger)
    position = type_coerce(null(), BigInteger) if place is None else place
    body = type_coerce(null(), Text)
    columns = raw_columns(head.c) if asked.whole else [raw(head.c.user_id)]
    parts = [
        select(_kind(HEAD).label("part"), position.label("position"), body.label("body"), *columns),
        _part(LAST, _messages(tables, key, place, asked), len(columns)),
    ]
    if asked.keep_system:
        parts.append(_part(FIRST, _first_message(tables, key), len(columns)))
    return union_all(*parts)


@lru_cache(maxsize=16)
def seeking(tables: Tables) -> Any:
    """Make the statement that finds the position of a message: MariaDB wants it beforehand.

    It, and MySQL, would read all other messages too, were the position a subquery.

    Args:
        tables: The store's.

    Returns:
        A statement with the parameters ``session_id`` and ``message``, for one number or no row.
    """
    named = tables.sessions.c.id == bindparam("session_id")
    key = select(tables.sessions.c.session_key).where(named).scalar_subquery()
    return select(_position(tables, key))


def _position(tables: Tables, key: ScalarSelect[Any]) -> ScalarSelect[Any]:
    one = tables.messages.alias()
    named = (one.c.session_key == key, one.c.id == bindparam("message", type_=one.c.id.type))
    return select(one.c.position).where(*named).scalar_subquery()


def _messages(
    tables: Tables, key: ScalarSelect[Any], place: ColumnElement[Any] | None, asked: Reading
) -> Any:
    position = tables.messages.c.position
    some = select(position, tables.messages.c.body).where(tables.messages.c.session_key == key)
    if place is not None:
        some = some.where(position > place if asked.forward else position < place)
    if asked.limited:
        some = some.order_by(position if asked.forward else position.desc())
        some = some.limit(bindparam("limit", type_=BigInteger))
    return some


def _first_message(tables: Tables, key: ScalarSelect[Any]) -> Any:
    messages = tables.messages
    first = select(messages.c.position, messages.c.body).where(messages.c.session_key == key)
    return first.order_by(messages.c.position).limit(1)


def _part(part: int, messages: Any, more: int) -> Any:
    rows = messages.subquery()
    found = (number(rows.c.position), raw(rows.c.body))
    return select(_kind(part), *found, *[null() for _ in range(more)])


def _kind(part: int) -> ColumnElement[int]:
    return literal_column(str(part), Integer)
