"""How a turn begins: on PostgreSQL a read and an append behind it are one statement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec
from sqlalchemy import BigInteger, Column, Integer, Text, column
from sqlalchemy.sql.selectable import TextualSelect

from sessionstore.errors import CorruptMessageError
from sessionstore.operations import Append, DeleteMessages, Get, GetMessages, Several
from sessionstore.sql.appending import append
from sessionstore.sql.deleting import delete_messages
from sessionstore.sql.direct import Query, Values
from sessionstore.sql.read_statements import FIRST, HEAD, LAST
from sessionstore.sql.reading import get, get_messages
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions
from sessionstore.sql.tables import Tables
from sessionstore.sql.write_statements import ADDING, written

__all__ = ["turn_of", "viewed", "viewing"]

T = TypeVar("T")

_REPLY = -1  # what a row is that tells of the append: see `HEAD` for the others
_UNSETTLED: Any = object()


def turn_of(asked: Several) -> tuple[Get | GetMessages, Append] | None:
    """Take a list apart that is a read of the last messages, or of all, and then an append.

    Args:
        asked: The list.

    Returns:
        The two; ``None`` where it is another.
    """
    match asked.operations:
        case [Get() as read, Append(messages=[_, *_]) as added]:
            return read, added
        case [GetMessages(before=None, after=None) as read, Append(messages=[_, *_]) as added]:
            return read, added
    return None


def viewed(sessions: Sessions, read: Get | GetMessages, added: Append) -> SqlFlow[list[Any] | None]:
    """Read a session and append to it in one statement.

    Args:
        sessions: The store's: PostgreSQL's.
        read: What is to be read.
        added: What to append. It can't be sent twice: the second time the read would show it.

    Returns:
        The result of each; ``None`` where nothing was done, as another writer came in between, or
        the session has expired.

    Raises:
        SessionStoreError: What one of the two raises.
    """
    # Both are led to their ends by the rows that they would have got each by itself.
    reading = get(sessions, read) if isinstance(read, Get) else get_messages(sessions, read)
    appending = append(sessions, added)
    next(reading)
    values = _values_of(next(appending), read.limit)
    kind = (read.limit is not None, read.keep_system, isinstance(read, Get))
    query = Query(viewing(sessions.tables, *kind), values)
    told, rows = _taken_apart((yield Work(query, at_once=True, session=values["id"])))
    *reply, places, is_settled = told
    if not is_settled:
        return None
    try:
        view = _result(reading, rows)
    except CorruptMessageError:
        yield from _undone(sessions, added, places or ())
        raise
    count = _result(appending, [reply])
    return None if count is _UNSETTLED else [view, count]


class _Rows(list[Any]):
    """What was read, which is in the frames of every error behind it."""

    def __repr__(self) -> str:
        """Tell how many there are: never what was said."""
        return f"<{len(self)} rows>"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return [len(self)]


def _taken_apart(rows: Sequence[Any]) -> tuple[list[Any], _Rows]:
    """Give what the statement tells of the append, and what it has read."""
    [told] = [row[2] for row in rows if row[0] == _REPLY]
    return msgspec.json.decode(told), _Rows(row for row in rows if row[0] != _REPLY)


def _undone(sessions: Sessions, added: Append, places: Sequence[int]) -> SqlFlow[None]:
    """Take back what was appended behind a read that fails: only here it shows that it does."""
    ids = [str(added.messages[place - 1].id) for place in places]
    yield from delete_messages(sessions, DeleteMessages(added.session_id, ids, added.user_id))


def _values_of(work: Work[Any], limit: int | None) -> Values:
    values = Values(cast("Query", work.run).values)
    if limit is not None:
        values["limit"] = limit
    return values


def _result(flow: SqlFlow[T], reply: object) -> T:
    """Give what a flow gives once it has its reply; `_UNSETTLED` where it asks for more."""
    try:
        flow.send(reply)
    except StopIteration as done:
        return cast("T", done.value)
    flow.close()
    return cast("T", _UNSETTLED)


@lru_cache(maxsize=16)
def viewing(tables: Tables, limited: bool, keep_system: bool, whole: bool) -> TextualSelect:
    """Make PostgreSQL's statement that reads a session, and then appends to it or makes it.

    It appends as `appending` does. What it reads is as it was when the statement began: so where
    the session's row, once it is locked, shows that another writer came in between, nothing is
    done.

    Args:
        tables: The store's.
        limited: Only the last ``limit`` messages.
        keep_system: The session's first message too, if limited.
        whole: All that is known of the session, not its owner alone.

    Returns:
        A statement with the parameters of `appending`, and as asked ``limit``. Its rows are those
        of `reading`; and one more whose body is JSON: what `appending` gives, the places in the
        list of those messages that were added, and whether nobody came in between.
    """
    columns = [*tables.sessions.c] if whole else [tables.sessions.c.user_id]
    nothing = ", NULL" * len(columns)
    marks = {
        "{columns}": ", ".join(f"head.{one.name}" for one in columns),
        "{first}": _FIRST.replace("{nothing}", nothing) if limited and keep_system else "",
        "{nothing}": nothing,
        "{limit}": "ORDER BY position DESC LIMIT CAST(:limit AS bigint)" if limited else "",
        "{REPLY}": str(_REPLY),
        "{HEAD}": str(HEAD),
        "{FIRST}": str(FIRST),
        "{LAST}": str(LAST),
    }
    sql = _VIEW
    for mark, value in marks.items():
        sql = sql.replace(mark, value)
    found = (column("part", Integer), column("position", BigInteger), column("body", Text))
    return written(tables, sql).columns(*found, *map(_named, columns))


def _named(one: Column[Any]) -> Any:
    return column(str(one.name), one.type)


_VIEW = """
WITH times AS MATERIALIZED (
    SELECT {oldest} AS oldest, greatest({now},
        (SELECT max(updated_at) + 1 FROM {sessions})) AS now
), seen AS MATERIALIZED (
    SELECT * FROM {sessions} WHERE id = CAST(:id AS text)
), found AS MATERIALIZED (
    SELECT session_key, user_id, updated_at, version, last_position
    FROM {sessions} WHERE id = CAST(:id AS text) FOR NO KEY UPDATE
), made AS (
    INSERT INTO {sessions} (id, agent_id, user_id, metadata, created_at, updated_at, version,
        message_count, last_position)
    SELECT CAST(:id AS text), CAST(:agent_id AS text), CAST(:user_id AS text), '{}',
        times.now, times.now, 1, CAST(:count AS bigint), CAST(:count AS bigint)
    FROM times
    WHERE NOT EXISTS (SELECT FROM found) AND NOT EXISTS (SELECT FROM seen)
        AND coalesce(CAST(:expected AS bigint), 0) = 0
    ON CONFLICT (id) DO NOTHING
    RETURNING session_key
), writable AS (
    SELECT session_key, last_position FROM found, times
    WHERE updated_at >= times.oldest
        AND (CAST(:user_id AS text) IS NULL OR user_id IS NULL OR user_id = CAST(:user_id AS text))
        AND version = coalesce(CAST(:expected AS bigint), version)
        AND version = (SELECT version FROM seen)
    UNION ALL
    SELECT session_key, 0 FROM made
), {adding}, head AS (
    SELECT seen.* FROM seen, times WHERE seen.updated_at >= times.oldest
), readable AS (
    SELECT session_key FROM head
    WHERE CAST(:user_id AS text) IS NULL OR user_id IS NULL OR user_id = CAST(:user_id AS text)
)
SELECT {HEAD}, CAST(NULL AS bigint), CAST(NULL AS text), {columns} FROM head
UNION ALL
SELECT {LAST}, message.position, message.body{nothing}
FROM (
    SELECT position, body FROM {messages}
    WHERE session_key = (SELECT session_key FROM readable) {limit}
) AS message
{first}
UNION ALL
SELECT {REPLY}, NULL, CAST(json_build_array(
    found.session_key IS NOT NULL, found.user_id, found.updated_at >= times.oldest, found.version,
    (SELECT count(*) FROM added), (SELECT count(*) FROM made),
    (SELECT json_agg(position - found.last_position) FROM added),
    CASE WHEN found.session_key IS NULL THEN NOT EXISTS (SELECT FROM seen)
        ELSE found.version = (SELECT version FROM seen) END
) AS text){nothing}
FROM times LEFT JOIN found ON true
""".replace("{adding}", ADDING)
_FIRST = """
UNION ALL
SELECT {FIRST}, message.position, message.body{nothing}
FROM (
    SELECT position, body FROM {messages}
    WHERE session_key = (SELECT session_key FROM readable) ORDER BY position LIMIT 1
) AS message
"""
