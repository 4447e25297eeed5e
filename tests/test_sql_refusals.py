"""What a real server refuses: a mistake of the caller's is no outage that a fallback may hide."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from conftest import Call
from servers.postgres import PostgresServer
from servers.process import wait_until

from sessionstore import (
    AgentDb,
    DbSessionStore,
    PostgresAgentDb,
    SessionMessage,
    SessionStoreError,
    StoreUnavailableError,
)

_PASSWORD = "correct-donkey"  # noqa: S105 - of a server of the tests' own
_MISTAKES = {
    "CREATE ROLE {0} NOLOGIN PASSWORD '{1}'": ("", "login"),
    "CREATE ROLE {0} LOGIN PASSWORD '{1}' VALID UNTIL '2001-01-01'": ("", "login"),
    "REVOKE CONNECT ON DATABASE {0} FROM PUBLIC": ("{0}", "permission"),
    "ALTER DATABASE {0} ALLOW_CONNECTIONS false": ("{0}", "ALLOW_CONNECTIONS"),
    "DROP DATABASE {0}": ("{0}", "no database of this name"),
}


@pytest.fixture
def admin(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        yield connection


def say(text: str = "hello") -> SessionMessage:
    return SessionMessage("user", text)


Refusal = Callable[[str], SessionStoreError]


@pytest.fixture(
    params=[
        ("sync", "psycopg"),
        ("async", "psycopg"),
        ("sync", "postgresql+psycopg"),
        ("sync", "postgresql+psycopg2"),
        ("async", "postgresql+asyncpg"),
    ],
    ids="-".join,
)
def refusal(request: pytest.FixtureRequest) -> Refusal:
    """Give the error of a store's first use, by one driver, sync or async."""
    kind, driver = request.param

    async def write_later(db: AgentDb) -> None:
        async with db:
            await DbSessionStore(db).aappend_message("🦜", say("🦜"))

    def write(db: AgentDb) -> None:
        if kind == "async":
            asyncio.run(write_later(db))
        with db:
            DbSessionStore(db).append_message("🦜", say("🦜"))

    def refused_by(url: str) -> SessionStoreError:
        named = url.replace("postgresql", driver, 1)
        db = PostgresAgentDb(url) if driver == "psycopg" else AgentDb(named)
        with pytest.raises(SessionStoreError) as refused:
            write(db)
        return refused.value

    return refused_by


@pytest.mark.parametrize("statement", _MISTAKES)
def test_a_callers_mistake_is_not_an_outage(
    postgres: PostgresServer,
    admin: psycopg.Connection,
    schema: str,
    refusal: Refusal,
    statement: str,
) -> None:
    database, words = _MISTAKES[statement]
    if not statement.startswith("CREATE ROLE"):
        admin.execute(f"CREATE ROLE {schema} LOGIN PASSWORD '{_PASSWORD}'")
    admin.execute(f"CREATE DATABASE {schema}")
    admin.execute(statement.format(schema, _PASSWORD))
    name = database.format(schema) or "postgres"
    url = f"postgresql://{schema}:{_PASSWORD}@127.0.0.1:{postgres.port}/{name}"
    error = refusal(url)
    admin.execute(f"DROP DATABASE IF EXISTS {schema}")
    assert type(error) is SessionStoreError
    assert words in str(error)
    assert _PASSWORD not in "".join(traceback.format_exception(error))


def test_a_host_that_pg_hba_refuses_is_not_an_outage(
    admin: psycopg.Connection, postgres: PostgresServer, refusal: Refusal
) -> None:
    rules = postgres._data / "pg_hba.conf"
    before = rules.read_text()
    query = "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'reject'"
    try:
        for rule in ("host all nobody all reject", "hostssl all nobody all scram-sha-256"):
            rules.write_text(f"{rule}\nhost all postgres all scram-sha-256\n")
            admin.execute("SELECT pg_reload_conf()")
            wait_until(lambda: _is_refused(postgres), "the rules do not change")
            error = refusal(f"postgresql://nobody:x@127.0.0.1:{postgres.port}/x")
            assert type(error) is SessionStoreError
            assert "pg_hba.conf" in str(error)
    finally:
        rules.write_text(before)
        admin.execute("SELECT pg_reload_conf()")
        wait_until(lambda: admin.execute(query).fetchone() == (0,), "the rules do not change back")


def _is_refused(postgres: PostgresServer) -> bool:
    try:
        psycopg.connect(postgres.url().replace("postgres:", "nobody:", 1)).close()
    except psycopg.OperationalError as error:
        return "pg_hba.conf" in str(error)
    return False


def test_a_server_without_tls_is_not_an_outage(
    postgres: PostgresServer, refusal: Refusal, request: Any
) -> None:
    parameter = "ssl" if "asyncpg" in request.node.name else "sslmode"
    error = refusal(f"{postgres.url()}?{parameter}=require")
    assert type(error) is SessionStoreError
    assert "TLS" in str(error)


@pytest.mark.parametrize("of", ["ROLE", "DATABASE"])
def test_a_limit_of_connections_is_an_outage(
    postgres: PostgresServer,
    admin: psycopg.Connection,
    schema: str,
    refusal: Refusal,
    of: str,
) -> None:
    admin.execute(f"CREATE ROLE {schema} LOGIN PASSWORD '{_PASSWORD}'")
    admin.execute(f"CREATE DATABASE {schema}")
    admin.execute(f"ALTER {of} {schema} CONNECTION LIMIT 0")
    url = f"postgresql://{schema}:{_PASSWORD}@127.0.0.1:{postgres.port}/{schema}"
    error = refusal(url)
    admin.execute(f"DROP DATABASE {schema}")
    assert isinstance(error, StoreUnavailableError)
    assert "no more connections" in str(error)


def test_a_database_named_like_an_error_is_not_mistaken_for_one(
    postgres: PostgresServer, refusal: Refusal
) -> None:
    error = refusal(postgres.url("too%20many%20clients"))
    assert "no database of this name" in str(error)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_is_not_utf8_is_refused_at_first_use(
    postgres: PostgresServer,
    admin: psycopg.Connection,
    schema: str,
    refusal: Refusal,
    encoding: str,
) -> None:
    admin.execute(f"CREATE DATABASE {schema} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    error = refusal(postgres.url(schema))
    admin.execute(f"DROP DATABASE {schema}")
    assert type(error) is SessionStoreError
    assert "must be UTF8" in str(error)


# -- Rights ---------------------------------------------------------------------------------------


def test_each_documented_right_is_needed_and_all_are_enough(
    postgres: PostgresServer, admin: psycopg.Connection, schema: str, call: Call
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        DbSessionStore(db).ping()
    admin.execute(f"CREATE ROLE {schema} LOGIN PASSWORD '{_PASSWORD}'")
    for grant in (
        f"USAGE ON SCHEMA {schema}",
        f"SELECT, INSERT, UPDATE, DELETE ON {schema}.sessionstore_sessions",
        f"SELECT, INSERT, UPDATE, DELETE ON {schema}.sessionstore_messages",
        f"SELECT ON {schema}.sessionstore_schema",
    ):
        with (
            PostgresAgentDb(postgres.url(), schema=schema, user=schema, password=_PASSWORD) as db,
            pytest.raises(SessionStoreError),
        ):
            call(DbSessionStore(db), "append_message", "s", say())
        admin.execute(f"GRANT {grant} TO {schema}")
    with PostgresAgentDb(postgres.url(), schema=schema, user=schema, password=_PASSWORD) as db:
        store = DbSessionStore(db, retention_days=1)
        assert call(store, "create", "s", messages=[SessionMessage("user", "a", id="m")]).version
        assert call(store, "append_message", "s", say()) == 1
        call(store, "replace_message", "s", SessionMessage("user", "b", id="m"))
        assert call(store, "delete_messages", "s", ["m"]) == ["m"]
        call(store, "update", "s", metadata={}, messages=[say()])
        assert call(store, "delete", "s")
        call(store, "prune_expired")


def test_a_missing_table_is_an_error_of_the_documented_kind(
    postgres: PostgresServer, admin: psycopg.Connection, schema: str, call: Call
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        admin.execute(f"DROP SCHEMA {schema} CASCADE")
        with pytest.raises(SessionStoreError, match="missing") as refused:
            call(store, "append_message", "s", say())
        call(db, "close")
    assert type(refused.value) is SessionStoreError
