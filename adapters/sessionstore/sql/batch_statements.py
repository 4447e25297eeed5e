"""PostgreSQL's statements that read, or append to, many sessions at once: they wait for none."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, Text, TextClause, column
from sqlalchemy.sql.selectable import TextualSelect

from sessionstore.sql.read_statements import FIRST, HEAD, LAST
from sessionstore.sql.tables import Tables
from sessionstore.sql.write_statements import written

__all__ = ["LONGEST", "appending_to_many", "reading_many"]

LONGEST = 16_384
"""The bytes of the longest message that a statement for many gives: a longer one has no body."""


@lru_cache(maxsize=16)
def reading_many(tables: Tables, keep_system: bool, whole: bool) -> TextualSelect:
    """Make the statement that reads many sessions, each with its last messages.

    Args:
        tables: The store's.
        keep_system: Each session's first message too.
        whole: All that is known of a session, not its owner alone.

    Returns:
        A statement with lists as its parameters, a place in them for each read: ``session_ids``,
        ``user_ids``, ``oldests``, ``limits``. Its rows begin with that place, from 1 on, and then
        are those of `reading`, but that a message longer than `LONGEST` has no body.
    """
    columns = [*tables.sessions.c] if whole else [tables.sessions.c.user_id]
    names = [f"head.{_name(one)}" for one in columns]
    nothing = ", NULL" * len(columns)
    first = _FIRST.replace("{nothing}", nothing) if keep_system else ""
    sql = _READ.replace("{columns}", ", ".join(names)).replace("{nothing}", nothing) + first
    marks = {"{HEAD}": HEAD, "{FIRST}": FIRST, "{LAST}": LAST, "{longest}": LONGEST}
    for mark, value in marks.items():
        sql = sql.replace(mark, str(value))
    found = (
        column("place", BigInteger),
        column("part", Integer),
        column("position", BigInteger),
        column("body", Text),
    )
    return written(tables, sql).columns(*found, *[column(_name(c), c.type) for c in columns])


def _name(one: Column[Any]) -> str:
    return str(one.name)


# OFFSET 0 keeps each session's part a look-up in an index, whatever the planner knows of the table.
_READ = """
WITH asked AS (
    SELECT * FROM unnest(CAST(:session_ids AS text[]), CAST(:user_ids AS text[]),
        CAST(:oldests AS bigint[]), CAST(:limits AS bigint[]))
        WITH ORDINALITY AS asked (id, caller, oldest, most, place)
), head AS MATERIALIZED (
    SELECT asked.place, asked.most, session.*,
        caller IS NULL OR session.user_id IS NULL OR session.user_id = caller AS is_readable
    FROM asked CROSS JOIN LATERAL (
        SELECT * FROM {sessions} AS session
        WHERE session.id = asked.id AND session.updated_at >=
            greatest({began} - asked.oldest, 0)
        OFFSET 0
    ) AS session
)
SELECT head.place, {HEAD}, CAST(NULL AS bigint), CAST(NULL AS text), {columns} FROM head
UNION ALL
SELECT head.place, {LAST}, message.position,
    CASE WHEN octet_length(message.body) <= {longest} THEN message.body END{nothing}
FROM head CROSS JOIN LATERAL (
    SELECT position, body FROM {messages} AS message
    WHERE message.session_key = head.session_key
    ORDER BY position DESC LIMIT head.most
) AS message
WHERE head.is_readable
"""
_FIRST = """
UNION ALL
SELECT head.place, {FIRST}, message.position,
    CASE WHEN octet_length(message.body) <= {longest} THEN message.body END{nothing}
FROM head CROSS JOIN LATERAL (
    SELECT position, body FROM {messages} AS message
    WHERE message.session_key = head.session_key
    ORDER BY position LIMIT 1
) AS message
WHERE head.is_readable
"""


@lru_cache(maxsize=16)
def appending_to_many(tables: Tables) -> TextClause:
    """Make the statement that appends to many sessions which are there, and waits for none.

    It is as `appending`, but that a session whose row is locked is passed over, as is one that
    isn't there: to make one may have to wait for another that makes it. No two appends may be to
    one session.

    Args:
        tables: The store's.

    Returns:
        A statement with lists as its parameters. A place for each append have ``sessions``, in
        order, ``user_ids``, ``oldests`` and ``counts``. A place for each message have ``places``,
        that of its append from 1 on, ``positions``, from 1 on within its append, ``ids`` and
        ``bodies``. Its rows begin with the append's place, and then are those of `appending`; there
        is none for a session that was passed over.
    """
    return written(tables, _APPEND)


_APPEND = """
WITH times AS MATERIALIZED (
    SELECT greatest({now}, (SELECT max(updated_at) + 1 FROM {sessions})) AS now
), asked AS MATERIALIZED (
    SELECT *, greatest({began} - ago, 0) AS oldest
    FROM unnest(CAST(:sessions AS text[]), CAST(:user_ids AS text[]),
        CAST(:oldests AS bigint[]), CAST(:counts AS bigint[]))
        WITH ORDINALITY AS asked (id, caller, ago, count, place)
), found AS MATERIALIZED (
    SELECT asked.place, asked.count, session.session_key, session.user_id, session.version,
        session.last_position, session.updated_at >= asked.oldest AS is_live,
        caller IS NULL OR session.user_id IS NULL OR session.user_id = caller AS is_writable
    FROM asked CROSS JOIN LATERAL (
        SELECT session_key, user_id, updated_at, version, last_position
        FROM {sessions} AS session WHERE session.id = asked.id
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS session
), added AS (
    INSERT INTO {messages} (session_key, position, id, body)
    SELECT found.session_key, found.last_position + new.position, new.id, new.body
    FROM found JOIN unnest(CAST(:places AS bigint[]), CAST(:positions AS bigint[]),
        CAST(:ids AS text[]), CAST(:bodies AS text[]))
        AS new (place, position, id, body) ON new.place = found.place
    WHERE found.is_live AND found.is_writable
    ON CONFLICT (session_key, id) DO NOTHING
    RETURNING session_key
), tally AS MATERIALIZED (
    SELECT session_key, count(*) AS added FROM added GROUP BY session_key
), counted AS (
    UPDATE {sessions} AS session SET version = session.version + 1,
        updated_at = greatest(times.now + found.place - 1, session.updated_at + 1),
        message_count = session.message_count + tally.added,
        last_position = session.last_position + found.count
    FROM found JOIN tally ON tally.session_key = found.session_key, times
    WHERE session.session_key = found.session_key
)
SELECT found.place, true, found.user_id, found.is_live, found.version, coalesce(tally.added, 0), 0
FROM found LEFT JOIN tally ON tally.session_key = found.session_key
"""
