"""PostgreSQL's statement that forks a session."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import TextClause

from sessionstore.sql.tables import Tables
from sessionstore.sql.write_statements import written

__all__ = ["forking"]


@lru_cache(maxsize=16)
def forking(tables: Tables, at: bool) -> TextClause:
    """Make PostgreSQL's statement that makes a session of another one's messages.

    All of its parts see that session as it was at one moment, so that it need not be locked: it
    waits for nobody but for who makes the same session just now. It settles nothing where another
    was first there, where an expired session is in the way, and where an id is not stored as it is.

    Args:
        tables: The store's.
        at: Messages are copied up to and with one.

    Returns:
        A statement with the parameters ``id``, ``new``, ``user_id``, ``oldest``, ``keys`` (of the
        metadata, those that change), ``added`` (to the metadata, as JSON with a comma behind each),
        ``origin`` (the session's id as JSON) and perhaps ``at``, the ids without NUL. Its one row
        tells whether the session is there, its owner and agent; whether the last message was found;
        whether the new one is there already, and its owner; whether it was made, and then its
        metadata, time, number of messages and last position.
    """
    parts = {
        "{at}": "AND message.id = CAST(:at AS text)" if at else "",
        "{count}": _COUNT if at else "message_count",
        "{where}": "WHERE position > 0" if at else "",
    }
    sql = _FORK
    for mark, part in parts.items():
        sql = sql.replace(mark, part)
    return written(tables, sql)


_COUNT = """(SELECT count(*) FROM {messages} AS message
        WHERE message.session_key = writable.session_key
            AND message.position <= writable.position)"""
_FORK = """
WITH times AS MATERIALIZED (
    SELECT {oldest} AS oldest, greatest({now},
        (SELECT max(updated_at) + 1 FROM {sessions})) AS now
), found AS MATERIALIZED (
    SELECT session_key, agent_id, user_id, metadata, message_count
    FROM {sessions}, times WHERE id = CAST(:id AS text) AND updated_at >= times.oldest
), other AS MATERIALIZED (
    SELECT user_id, updated_at >= times.oldest AS is_live
    FROM {sessions}, times WHERE id = CAST(:new AS text)
), readable AS MATERIALIZED (
    SELECT * FROM found
    WHERE CAST(:user_id AS text) IS NULL OR user_id IS NULL OR user_id = CAST(:user_id AS text)
), last AS MATERIALIZED (
    SELECT message.position, message.id FROM readable, {messages} AS message
    WHERE message.session_key = readable.session_key {at}
    ORDER BY message.position DESC LIMIT 1
), writable AS MATERIALIZED (
    SELECT readable.*, coalesce(last.position, 0) AS position, '{' || coalesce((
        SELECT string_agg(to_json(each.key) || ':' || each.value, ',' ORDER BY each.place)
        FROM json_each(CAST(readable.metadata AS json))
            WITH ORDINALITY AS each (key, value, place)
        WHERE each.key <> 'forked_from' AND each.key <> ALL (CAST(:keys AS text[]))
    ) || ',', '') || CAST(:added AS text) || '"forked_from":{"session_id":'
        || CAST(:origin AS text) || ',"message_id":'
        || coalesce(CAST(to_json(last.id) AS text), 'null') || '}}' AS merged
    FROM readable LEFT JOIN last ON true
    WHERE NOT EXISTS (SELECT FROM other) AND (last.id IS NULL OR strpos(last.id, chr(26)) = 0)
), made AS (
    INSERT INTO {sessions} (id, agent_id, user_id, metadata, created_at, updated_at, version,
        message_count, last_position)
    SELECT CAST(:new AS text), agent_id, user_id, merged, times.now, times.now, 1, {count}, position
    FROM writable, times {where}
    ON CONFLICT (id) DO NOTHING
    RETURNING session_key, metadata, created_at, message_count, last_position
), copied AS (
    INSERT INTO {messages} (session_key, position, id, body)
    SELECT made.session_key, message.position, message.id, message.body
    FROM made, writable, {messages} AS message
    WHERE message.session_key = writable.session_key AND message.position <= writable.position
    ORDER BY message.position
)
SELECT found.session_key IS NOT NULL, found.user_id, found.agent_id, last.id IS NOT NULL,
    coalesce(other.is_live, false), other.user_id, made.session_key, made.metadata,
    made.created_at, made.message_count, made.last_position
FROM times LEFT JOIN found ON true LEFT JOIN other ON true LEFT JOIN last ON true
    LEFT JOIN made ON true
"""
