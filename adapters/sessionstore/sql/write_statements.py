"""The statements that write to a session: on PostgreSQL one for an append or a deletion."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from sqlalchemy import URL, BigInteger, TextClause, bindparam, insert, select, text, update

from sessionstore.sql.cells import raw_columns
from sessionstore.sql.clock import BEGAN, NOW, OLDEST, newest, next_time, now, oldest_live
from sessionstore.sql.tables import Tables

__all__ = [
    "ADDING",
    "APPEND",
    "adding",
    "appending",
    "locking",
    "moment",
    "noting",
    "relabelling",
    "removing",
    "rewinding",
    "written",
]


@lru_cache(maxsize=16)
def locking(tables: Tables) -> Any:
    """Make the statement that locks a session's row.

    Args:
        tables: The store's.

    Returns:
        A statement with the parameters ``session_id`` and ``oldest``, for the row's columns and
        whether the session is live.
    """
    c = tables.sessions.c
    is_live = (c.updated_at >= oldest_live()).label("is_live")
    named = select(*raw_columns(c), is_live).where(c.id == bindparam("session_id"))
    return named.with_for_update()


@lru_cache(maxsize=16)
def adding(tables: Tables, skips: bool) -> Any:
    """Make the statement that adds a message to a session.

    Args:
        tables: The store's.
        skips: It adds none whose id the session holds: SQLite's, whose drivers count the rest.

    Returns:
        A statement with the parameters ``session_key``, ``position``, ``id`` and ``body``.
    """
    return text(_named(tables, _ADD)) if skips else insert(tables.messages)


_ADD = """
INSERT INTO {messages} (session_key, position, id, body)
VALUES (:session_key, :position, :id, :body)
ON CONFLICT (session_key, id) DO NOTHING
"""


@lru_cache(maxsize=16)
def moment(tables: Tables) -> Any:
    """Make the statement that gives the time now, and that of the newest write to any session."""
    return select(now(), newest(tables.sessions))


@lru_cache(maxsize=64)
def noting(tables: Tables, metadata: bool, at_once: bool) -> Any:
    """Make the statement that notes a write in a session's row, which is locked.

    Args:
        tables: The store's.
        metadata: Its metadata changes.
        at_once: The time of the write is found here; otherwise it is given.

    Returns:
        A statement with the parameters ``key``, ``count``, ``last``, and as asked ``changed``,
        ``now`` or ``next``.
    """
    sessions = tables.sessions
    values: dict[Any, Any] = {
        sessions.c.version: sessions.c.version + 1,
        sessions.c.message_count: bindparam("count", type_=BigInteger),
        sessions.c.last_position: bindparam("last", type_=BigInteger),
        sessions.c.updated_at: next_time(sessions) if at_once else bindparam("next"),
    }
    if metadata:
        values[sessions.c.metadata] = bindparam("changed")
    own = sessions.c.session_key == bindparam("key", type_=BigInteger)
    return update(sessions).where(own).values(values)


@lru_cache(maxsize=16)
def relabelling(tables: Tables) -> Any:
    """Make the statement that gives a session, whose row is locked, other metadata.

    Args:
        tables: The store's.

    Returns:
        A statement with the parameters ``key`` and ``changed``.
    """
    c = tables.sessions.c
    values: dict[Any, Any] = {c.version: c.version + 1, c.metadata: bindparam("changed")}
    own = c.session_key == bindparam("key", type_=BigInteger)
    return update(tables.sessions).where(own).values(values)


@lru_cache(maxsize=16)
def appending(tables: Tables) -> TextClause:
    """Make PostgreSQL's statement that appends to a session, and makes it when it is new.

    All parts of a statement see the tables as they were when it began; but a row that is locked
    is given as it is then. So the session's row is locked first, which makes writers take turns,
    and what is checked and counted on comes from that. Rows that other writers have added since
    the statement began can't be seen: they show as conflicts of the unique indexes, which know
    all. That leaves one case undecided, in which nothing is written: two writers make the same
    session, and the second can't see it yet.

    Args:
        tables: The store's.

    Returns:
        A statement with the parameters ``id``, ``agent_id``, ``user_id``, ``expected``,
        ``oldest``, ``count``, ``ids`` and ``bodies``, the ids without NUL. Its one row tells
        whether the session was there, its owner, whether it is live, its version; how many
        messages were added; and whether the session was made.
    """
    return written(tables, re.sub("{(fence|passes|passed)}", "", APPEND))


# Behind `found`, `times` and `writable`: also in the statement that reads before it appends.
ADDING: str = """added AS (
    INSERT INTO {messages} (session_key, position, id, body)
    SELECT writable.session_key, writable.last_position + new.place, new.id, new.body
    FROM writable, unnest(CAST(:ids AS text[]), CAST(:bodies AS text[]))
        WITH ORDINALITY AS new (id, body, place)
    ON CONFLICT (session_key, id) DO NOTHING
    RETURNING position
), counted AS (
    UPDATE {sessions} AS session SET version = session.version + 1,
        updated_at = greatest(times.now, session.updated_at + 1),
        message_count = session.message_count + (SELECT count(*) FROM added),
        last_position = session.last_position + CAST(:count AS bigint)
    FROM found, times
    WHERE session.session_key = found.session_key AND (SELECT count(*) FROM added) > 0
)"""
# With marks for a fence: what it is, that it was passed, and whether it was.
APPEND: str = """
WITH times AS MATERIALIZED (
    SELECT {oldest} AS oldest, greatest({now},
        (SELECT max(updated_at) + 1 FROM {sessions})) AS now
), found AS MATERIALIZED (
    SELECT session_key, user_id, updated_at, version, last_position
    FROM {sessions} WHERE id = CAST(:id AS text) FOR NO KEY UPDATE
), {fence}made AS (
    INSERT INTO {sessions} (id, agent_id, user_id, metadata, created_at, updated_at, version,
        message_count, last_position)
    SELECT CAST(:id AS text), CAST(:agent_id AS text), CAST(:user_id AS text), '{}',
        times.now, times.now, 1, CAST(:count AS bigint), CAST(:count AS bigint)
    FROM times
    WHERE NOT EXISTS (SELECT FROM found) AND coalesce(CAST(:expected AS bigint), 0) = 0 {passes}
    ON CONFLICT (id) DO NOTHING
    RETURNING session_key
), writable AS (
    SELECT session_key, last_position FROM found, times
    WHERE updated_at >= times.oldest
        AND (CAST(:user_id AS text) IS NULL OR user_id IS NULL OR user_id = CAST(:user_id AS text))
        AND version = coalesce(CAST(:expected AS bigint), version) {passes}
    UNION ALL
    SELECT session_key, 0 FROM made
), {adding}
SELECT found.session_key IS NOT NULL, found.user_id,
    found.updated_at >= times.oldest, found.version,
    (SELECT count(*) FROM added), (SELECT count(*) FROM made){passed}
FROM times LEFT JOIN found ON true
""".replace("{adding}", ADDING)


@lru_cache(maxsize=16)
def removing(tables: Tables) -> TextClause:
    """Make PostgreSQL's statement that deletes messages of a session.

    Its parts see the messages as they were when it began, and only the session's row as it is once
    it is locked. Where another writer came in between, which that row's version tells, nothing is
    deleted and nothing is settled.

    Args:
        tables: The store's.

    Returns:
        A statement with the parameters ``id``, ``user_id``, ``expected``, ``oldest`` and
        ``ids``, the ids without NUL. Its one row tells whether the session was there, its owner,
        whether it is live, its version; whether that is settled; and the ids that were deleted, in
        order.
    """
    return written(tables, _REMOVE)


@lru_cache(maxsize=16)
def rewinding(tables: Tables) -> TextClause:
    """Make PostgreSQL's statement that deletes the messages behind one, or all of a session.

    It is settled, or not, as `removing` is.

    Args:
        tables: The store's.

    Returns:
        A statement with the parameters ``id``, ``user_id``, ``expected``, ``oldest`` and ``to``,
        the ids without NUL. Its one row is that of `removing`, with whether the message is there
        before the ids.
    """
    return written(tables, _REWIND)


_WRITABLE = """times AS MATERIALIZED (
    SELECT {oldest} AS oldest, greatest({now},
        (SELECT max(updated_at) + 1 FROM {sessions})) AS now
), seen AS MATERIALIZED (
    SELECT version FROM {sessions} WHERE id = CAST(:id AS text)
), found AS MATERIALIZED (
    SELECT session_key, user_id, updated_at, version
    FROM {sessions} WHERE id = CAST(:id AS text) FOR NO KEY UPDATE
), writable AS (
    SELECT session_key FROM found, times
    WHERE updated_at >= times.oldest
        AND (CAST(:user_id AS text) IS NULL OR user_id IS NULL OR user_id = CAST(:user_id AS text))
        AND version = coalesce(CAST(:expected AS bigint), version)
        AND version = (SELECT version FROM seen)
)"""
# Behind that and `removed`.
_COUNTED = """counted AS (
    UPDATE {sessions} AS session SET version = session.version + 1,
        updated_at = greatest(times.now, session.updated_at + 1),
        message_count = session.message_count - (SELECT count(*) FROM removed)
    FROM writable, times
    WHERE session.session_key = writable.session_key AND EXISTS (SELECT FROM removed)
)
SELECT found.session_key IS NOT NULL, found.user_id,
    found.updated_at >= times.oldest, found.version,
    found.version = (SELECT version FROM seen)"""
_REMOVE = """
WITH {writable}, removed AS (
    DELETE FROM {messages} AS message USING writable
    WHERE message.session_key = writable.session_key
        AND message.id = ANY(CAST(:ids AS text[]))
    RETURNING message.id, message.position
), {counted}, (SELECT array_agg(id ORDER BY position) FROM removed)
FROM times LEFT JOIN found ON true
""".replace("{writable}", _WRITABLE).replace("{counted}", _COUNTED)
# Where the way that is deleted begins is looked up first: so it is found by the index, also where
# nothing is known of the table yet.
_REWIND = """
WITH {writable}, start AS MATERIALIZED (
    SELECT position FROM {messages}
    WHERE session_key = (SELECT session_key FROM writable) AND id = CAST(:to AS text)
    UNION ALL
    SELECT CAST(0 AS bigint) WHERE CAST(:to AS text) IS NULL
), removed AS (
    DELETE FROM {messages}
    WHERE session_key = (SELECT session_key FROM writable)
        AND position > (SELECT position FROM start)
    RETURNING id, position
), {counted}, EXISTS (SELECT FROM start), (SELECT array_agg(id ORDER BY position) FROM removed)
FROM times LEFT JOIN found ON true
""".replace("{writable}", _WRITABLE).replace("{counted}", _COUNTED)


def written(tables: Tables, sql: str) -> TextClause:
    """Put the names of the tables, and PostgreSQL's times, into a statement.

    Args:
        tables: The store's.
        sql: The statement, with ``{sessions}``, ``{messages}``, ``{leases}``, ``{now}``,
            ``{began}`` (when the statement began) and ``{oldest}``.

    Returns:
        The statement.
    """
    times = {"{now}": NOW, "{began}": BEGAN, "{oldest}": OLDEST}
    for mark, time in times.items():
        sql = sql.replace(mark, time)
    return text(_named(tables, sql))


def _named(tables: Tables, sql: str) -> str:
    """Put the names of the tables into a statement, as `text` wants them written."""
    quote = URL.create("postgresql+psycopg").get_dialect()().identifier_preparer.format_table
    known = {"{sessions}": tables.sessions, "{messages}": tables.messages}
    names = {mark: quote(table) for mark, table in (*known.items(), ("{leases}", tables.leases))}
    written = {mark: name.replace("%%", "%").replace(":", "\\:") for mark, name in names.items()}
    return re.sub("|".join(names), lambda found: written[found[0]], sql)
