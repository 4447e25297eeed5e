"""Lists on PostgreSQL: their statements take an index, however large the tables are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import psycopg
import pytest
from psycopg import sql
from servers.postgres import PostgresServer
from sqlalchemy import URL

from sessionstore import DbSessionStore, PostgresAgentDb
from sessionstore.operations import ListSessions
from sessionstore.sql.listing import _query

_DIALECT = URL.create("postgresql+psycopg").get_dialect()()
AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
LISTS: dict[str, dict[str, Any]] = {
    "all": {},
    "agent": {"agent_id": "a1"},
    "user": {"user_id": "u1"},
    "both": {"agent_id": "a1", "user_id": "u1"},
    "after": {"updated_after": AGO},
    "between": {"updated_after": AGO, "updated_before": AGO.replace(year=2021)},
    "of a user after": {"user_id": "u1", "updated_after": AGO, "cursor": "1600000000000000.7"},
}
SESSIONS = """INSERT INTO {}.sessionstore_sessions (id, agent_id, user_id, metadata, created_at,
    updated_at, version, message_count, last_position)
    SELECT 's' || n, 'a' || n % 10, 'u' || n % 500, '{{}}', n, 1500000000000000 + n * 10000000000,
    1, 10, 10 FROM generate_series(1, 20000) AS n"""
MESSAGES = """INSERT INTO {}.sessionstore_messages (session_key, position, id, body)
    SELECT session_key, place, 'm' || place, '{{"role":"user","id":"m' || place || '"}}'
    FROM {}.sessionstore_sessions, generate_series(1, 10) AS place"""

ANALYZE = "ANALYZE {}.sessionstore_sessions, {}.sessionstore_messages"


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer) -> Iterator[DbSessionStore]:
    schema = f"lists_{uuid.uuid4().hex[:12]}"  # other tests may come between, and this again
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db, retention_days=36_500)
        store.ping()
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            name = sql.Identifier(schema)
            connection.execute(sql.SQL(SESSIONS).format(name))
            connection.execute(sql.SQL(MESSAGES).format(name, name))
            connection.execute(sql.SQL(ANALYZE).format(name, name))
        yield store


@pytest.mark.parametrize("last", [0, 1, 20])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("scope", LISTS.values(), ids=LISTS.keys())
def test_every_list_uses_an_index(
    filled: DbSessionStore, postgres: PostgresServer, scope: dict[str, Any], mode: str, last: int
) -> None:
    """Also by a plan that is made once for all, which knows of no limit."""
    query = _query(filled._sessions, ListSessions(limit=20, last=last, **scope))
    statement = query.statement.compile(dialect=_DIALECT)
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"SET plan_cache_mode = {mode}")  # type: ignore[arg-type]
        values = statement.construct_params(query.values)
        explained = f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}"
        rows = connection.execute(explained, values, prepare=True).fetchall()
    plan = "\n".join(row for [row] in rows)
    assert "Index" in plan
    assert "Seq Scan" not in plan, plan


def test_a_page_of_a_large_table_is_right(filled: DbSessionStore) -> None:
    page = filled.list_sessions(user_id="u1", limit=3, last=2)
    assert [info.id for info in page.sessions] == ["s19501", "s19001", "s18501"]
    assert [[m.id for m in info.messages] for info in page.sessions] == [["m9", "m10"]] * 3
