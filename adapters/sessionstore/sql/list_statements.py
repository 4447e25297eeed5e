"""The statements that read a page of a list of sessions: one round trip each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    Text,
    bindparam,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    type_coerce,
    union_all,
)

from sessionstore.sql.cells import number, raw, raw_columns
from sessionstore.sql.clock import oldest_live
from sessionstore.sql.read_statements import HEAD, LAST
from sessionstore.sql.tables import Tables

__all__ = ["Listing", "listing", "previewing"]


class Listing(NamedTuple):
    """What a list asks for; each kind of list has one statement.

    Attributes:
        by_agent: Only the sessions of an agent.
        by_user: Only the sessions of an owner.
        further: Only those behind a place: see `Row.place`.
        recent: Only those written to at ``since`` or later.
    """

    by_agent: bool
    by_user: bool
    further: bool
    recent: bool


@lru_cache(maxsize=64)
def listing(tables: Tables, asked: Listing) -> Any:
    """Make the statement that reads one page of a list of sessions.

    Args:
        tables: The store's.
        asked: What is to be read.

    Returns:
        A statement with the parameters ``oldest``, ``limit``, and as asked ``agent_id``,
        ``user_id``, ``updated_at`` and ``session_key``, ``since``.
    """
    return _page(tables, asked, [])


@lru_cache(maxsize=64)
def previewing(tables: Tables, asked: Listing, lateral: bool) -> Any:
    """Make the statement that reads a page, and the last messages of each session on it.

    Its rows are in no order: what the row is (`HEAD`, `LAST`), a message's position and body, and
    the columns of the session, of which a message has the key alone.

    Args:
        tables: The store's.
        asked: What is to be read.
        lateral: The database has ``LATERAL``: PostgreSQL, which then takes the messages by their
            index whatever it believes to know of the table.

    Returns:
        A statement with the parameters of `listing`, and ``last``; where it is not lateral,
        ``others``: one less.
    """
    nth = [] if lateral else [_nth_last(tables).label("first_position")]
    page = _page(tables, asked, nth).cte("page")
    keys = [column.key for column in tables.sessions.c]
    heads = select(
        _kind(HEAD).label("part"),
        type_coerce(null(), BigInteger).label("position"),
        type_coerce(null(), Text).label("body"),
        *[page.c[key] for key in keys],
    )
    columns = [page.c[key] if key == "session_key" else null() for key in keys]
    bodies = _lateral(tables, page, columns) if lateral else _joined(tables, page, columns)
    return union_all(heads, bodies)


def _page(tables: Tables, asked: Listing, more: list[Any]) -> Any:
    c = tables.sessions.c
    page = select(*raw_columns(c), *more).where(c.updated_at >= oldest_live())
    if asked.recent:
        page = page.where(c.updated_at >= bindparam("since", type_=BigInteger))
    if asked.by_user:
        page = page.where(c.user_id == bindparam("user_id"))
    if asked.by_agent:
        agent = bindparam("agent_id", type_=c.agent_id.type)
        # A user has fewer sessions than an agent: the agent's index is kept out.
        page = page.where((c.agent_id.concat("") if asked.by_user else c.agent_id) == agent)
    if asked.further:
        time = bindparam("updated_at", type_=BigInteger)
        key = bindparam("session_key", type_=BigInteger)
        # The first of these is what an index serves.
        page = page.where(c.updated_at <= time, or_(c.updated_at < time, c.session_key < key))
    page = page.order_by(c.updated_at.desc(), c.session_key.desc())
    return page.limit(bindparam("limit", type_=BigInteger))


def _nth_last(tables: Tables) -> Any:
    """Give the position of the first of a session's last messages; none where it has fewer."""
    one = tables.messages.alias("one")
    own = select(one.c.position).where(one.c.session_key == tables.sessions.c.session_key)
    last = own.order_by(one.c.position.desc()).limit(1)
    others = bindparam("others", type_=BigInteger)
    return last.offset(others).correlate(tables.sessions).scalar_subquery()


def _joined(tables: Tables, page: CTE, columns: list[Any]) -> Any:
    messages = tables.messages
    own = (
        messages.c.session_key == page.c.session_key,
        messages.c.position >= func.coalesce(page.c.first_position, 0),
    )
    found = (number(messages.c.position), raw(messages.c.body))
    # An outer join, so that the page comes first, and the messages by their index.
    source = page.outerjoin(messages, own[0] & own[1])
    return select(_kind(LAST), *found, *columns).select_from(source)


def _lateral(tables: Tables, page: CTE, columns: list[Any]) -> Any:
    messages = tables.messages
    some = select(messages.c.position, messages.c.body)
    some = some.where(messages.c.session_key == page.c.session_key)
    some = some.order_by(messages.c.position.desc()).limit(bindparam("last", type_=BigInteger))
    last = some.lateral("last_messages")
    found = (last.c.position, last.c.body)
    return select(_kind(LAST), *found, *columns).select_from(page.join(last, true()))


def _kind(part: int) -> ColumnElement[int]:
    return literal_column(str(part), Integer)
