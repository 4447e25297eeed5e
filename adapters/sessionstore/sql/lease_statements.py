"""The statements of leases: on PostgreSQL one for each operation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Integer, TextClause, and_, bindparam, cast, or_, select
from sqlalchemy.dialects import mysql, sqlite

from sessionstore._runtime.boots import boot_id
from sessionstore._runtime.clock import clock
from sessionstore.rows.leases import BOGUS, LEASES_KEPT, MOST_TOKEN
from sessionstore.sql.cells import raw
from sessionstore.sql.clock import NOW, now, oldest_live
from sessionstore.sql.tables import Tables
from sessionstore.sql.write_statements import APPEND, written

__all__ = [
    "acquiring",
    "ended",
    "entering",
    "fencing",
    "looking",
    "owning",
    "releasing",
    "renewing",
]

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


@lru_cache(maxsize=16)
def acquiring(tables: Tables) -> TextClause:
    """Make PostgreSQL's statement that takes a lease.

    Who sees that another has it changes and locks nothing. Else the row is locked, and what it is
    then decides, at the time that it is then: a write that carries the lease has it locked until it
    is committed. Where another was first meanwhile, nothing is taken and nothing is told.

    Args:
        tables: The store's.

    Returns:
        A statement with the parameters ``id``, ``user_id``, ``oldest``, ``holder``, ``length`` and
        ``take_over``, the ids without NUL. Its one row tells the token, for how long another has
        the lease, and the owner of the session.
    """
    return _written(tables, _ACQUIRE)


@lru_cache(maxsize=16)
def renewing(tables: Tables) -> TextClause:
    """Make PostgreSQL's statement that renews a lease.

    Args:
        tables: The store's.

    Returns:
        A statement with the parameters ``id``, ``user_id``, ``oldest``, ``token`` and ``length``.
        Its one row tells whether the lease was held until then, and the owner of the session.
    """
    return _written(tables, _RENEW)


@lru_cache(maxsize=16)
def releasing(tables: Tables) -> TextClause:
    """Make PostgreSQL's statement that gives a lease back, with ``id`` and ``holder``.

    Its row tells whether the lease was held until then; there is none where it was another's.
    """
    return _written(tables, _RELEASE)


@lru_cache(maxsize=16)
def fencing(tables: Tables) -> TextClause:
    """Make PostgreSQL's statement that appends as `appending` does, under a lease.

    The lease's row is locked behind the session's, as everywhere, and its time is looked at last.

    Args:
        tables: The store's.

    Returns:
        The statement, with one more parameter, ``token``, and one more column: whether it is held.
    """
    return _written(tables, _FENCED)


_LIVE = f"""({{0}}holder <> '' AND {{0}}ends_at > {NOW}
        AND {{0}}ends_at <= {NOW} + CAST({BOGUS} AS bigint))"""
_FOUND = """
WITH times AS MATERIALIZED (
    SELECT {oldest} AS oldest
), found AS MATERIALIZED (
    SELECT user_id
    FROM {sessions}, times WHERE id = CAST(:id AS text) AND updated_at >= times.oldest
), """
_OTHERS = "EXISTS (SELECT FROM found WHERE user_id <> CAST(:user_id AS text))"
_ACQUIRE = """{found}held AS MATERIALIZED (
    SELECT ends_at - {now} AS rest
    FROM {leases} WHERE session_id = CAST(:id AS text) AND {live}
        AND holder <> CAST(:holder AS text) AND NOT CAST(:take_over AS boolean)
), taken AS (
    INSERT INTO {leases} AS lease (session_id, token, holder, ends_at)
    SELECT CAST(:id AS text), {now}, CAST(:holder AS text), {now} + CAST(:length AS bigint)
    WHERE NOT EXISTS (SELECT FROM held)
        AND NOT {another's}
    ON CONFLICT (session_id) DO UPDATE SET
        token = CASE WHEN lease.holder = excluded.holder AND {its live} THEN lease.token
            ELSE greatest({now}, CASE WHEN lease.token < {most} THEN lease.token + 1 END) END,
        holder = excluded.holder, ends_at = {now} + CAST(:length AS bigint)
    WHERE CAST(:take_over AS boolean) OR lease.holder = excluded.holder OR NOT {its live}
    RETURNING token
)
SELECT (SELECT token FROM taken), (SELECT rest FROM held), found.user_id
FROM times LEFT JOIN found ON true
"""
# A row is locked before its time is looked at: the wait may be longer than the lease.
_RENEW = """{found}held AS MATERIALIZED (
    SELECT session_id, holder, ends_at
    FROM {leases} WHERE session_id = CAST(:id AS text) AND token = CAST(:token AS bigint)
    FOR NO KEY UPDATE
), lasting AS MATERIALIZED (
    SELECT session_id FROM held WHERE {live} AND NOT {another's}
), renewed AS (
    UPDATE {leases} AS lease SET ends_at = {now} + CAST(:length AS bigint)
    FROM lasting WHERE lease.session_id = lasting.session_id
    RETURNING 1
)
SELECT EXISTS (SELECT FROM renewed), found.user_id
FROM times LEFT JOIN found ON true
"""
_RELEASE = """
WITH held AS MATERIALIZED (
    SELECT session_id, holder, ends_at
    FROM {leases} WHERE session_id = CAST(:id AS text) AND holder = CAST(:holder AS text)
    FOR NO KEY UPDATE
), freed AS (
    UPDATE {leases} AS lease SET holder = '', ends_at = least(lease.ends_at, {now})
    FROM held WHERE lease.session_id = held.session_id
)
SELECT {live} FROM held
"""
_FENCE = """fence AS MATERIALIZED (
    SELECT holder, ends_at
    FROM {leases} WHERE session_id = CAST(:id AS text) AND token = CAST(:token AS bigint)
        AND (SELECT count(*) FROM found) >= 0
    FOR NO KEY UPDATE
), passed AS MATERIALIZED (
    SELECT 1 FROM fence WHERE {live}
), """
_FENCED = (
    APPEND.replace("{fence}", _FENCE)
    .replace("{passes}", "AND EXISTS (SELECT FROM passed)")
    .replace("{passed}", ", EXISTS (SELECT FROM passed)")
)


def _written(tables: Tables, sql: str) -> TextClause:
    marks = {
        "{found}": _FOUND,
        "{another's}": _OTHERS,
        "{live}": _LIVE.format(""),
        "{its live}": _LIVE.format("lease."),
        "{most}": str(MOST_TOKEN),
    }
    for mark, meaning in marks.items():
        sql = sql.replace(mark, meaning)
    return written(tables, sql)


@lru_cache(maxsize=16)
def looking(tables: Tables, *, boots: bool, locks: bool) -> Any:
    """Make the statement that gives what `LeaseRow` holds of a session, and the time.

    Args:
        tables: The store's.
        boots: A lease of an earlier start of the machine, which ``boot`` names, is none.
        locks: The row is locked; until the end of the transaction nobody takes the lease. The
            time is that of the lock; on MySQL it is when the statement began, and may have waited.

    Returns:
        A statement with the parameters ``session_id``, ``holder`` and, with ``boots``, ``boot`` and
        ``now``.
    """
    c = tables.leases.c
    numbers = [cast(column, _NUMBER) for column in (c.token, c.ends_at)]
    is_held = c.holder != ""
    if boots:
        is_held = and_(is_held, c.boot == bindparam("boot"))
    read: list[Any] = [*numbers, is_held, c.holder == bindparam("holder")]
    if not locks:
        return select(*read, now()).where(c.session_id == bindparam("session_id"))
    labels = [value.label(f"value{place}") for place, value in enumerate(read)]
    found = select(*labels).where(c.session_id == bindparam("session_id"))
    # Around the lock, so that PostgreSQL looks at its clock when it has it.
    return select(*found.with_for_update(key_share=True).subquery("found").c, now())


@lru_cache(maxsize=16)
def owning(tables: Tables) -> Any:
    """Make the statement that gives a live session's owner, with ``session_id`` and ``oldest``."""
    c = tables.sessions.c
    is_live = c.updated_at >= oldest_live()
    return select(raw(c.user_id)).where(c.id == bindparam("session_id"), is_live)


@lru_cache(maxsize=16)
def entering(tables: Tables, *, is_mysql: bool) -> Any:
    """Make the statement that sees to a row of the session ``id``, which nobody holds yet."""
    values = {"session_id": bindparam("id"), "token": 0, "holder": "", "ends_at": 0}
    if is_mysql:
        # It locks the row, too, where it is there: to look for one that is not would lock others.
        there = {"token": tables.leases.c.token}
        return mysql.insert(tables.leases).values(values).on_duplicate_key_update(there)
    return sqlite.insert(tables.leases).values(values).on_conflict_do_nothing()


def ended(tables: Tables, *, boots: bool) -> Any:
    """Give the condition of a row that is no more needed: a clock has passed its token."""
    c = tables.leases.c
    if not boots:
        return and_(c.token < now() - LEASES_KEPT, c.ends_at < now() - LEASES_KEPT)
    steady = clock.steady()
    was_long_ago = or_(
        c.boot.is_distinct_from(boot_id()),
        c.ends_at < steady - LEASES_KEPT,
        c.ends_at > steady + BOGUS,
    )
    return and_(c.token < clock.wall() - LEASES_KEPT, was_long_ago)
