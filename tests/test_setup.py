"""`setup`: what each store makes, what it is refused, and how a fallback starts in an outage."""

from __future__ import annotations

import re
import stat
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from children import Children
from servers import permissions
from servers import redis as redis_servers
from servers.permissions import ALWAYS
from servers.postgres import PostgresServer
from warm import Warm

from sessionstore import (
    DbSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SessionStoreError,
    SqliteAgentDb,
    SQLiteSessionStore,
    StoreBusyError,
    StoreConnectionError,
    StoreTimeoutError,
    WrapperSessionStore,
    open_store,
)
from sessionstore.operations import Setup
from sessionstore.redis import scripts
from sessionstore.testing import FlakySessionStore

Call = Callable[..., Any]
HELLO = {"role": "user", "content": "Hello!", "id": "m1"}


# -- What it makes --------------------------------------------------------------------------------


def test_a_file_and_its_tables_are_made(tmp_path: Path, call: Call) -> None:
    path = tmp_path / "new" / "sessions.db"
    with SQLiteSessionStore(path, create_parents=True) as store:
        assert not path.exists()
        call(store, "setup")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with SqliteAgentDb(path, create_schema=False) as db:
        call(DbSessionStore(db), "setup")


def test_the_tables_of_a_database_are_made(postgres: PostgresServer, call: Call) -> None:
    schema = f"s{uuid.uuid4().hex}"
    missing = pytest.raises(SessionStoreError, match=r"AgentDb\.ddl\(\)")
    with PostgresAgentDb(postgres.url(), schema=schema, create_schema=False) as db, missing:
        call(DbSessionStore(db), "setup")
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        call(DbSessionStore(db), "setup")
    with PostgresAgentDb(postgres.url(), schema=schema, create_schema=False) as db:
        call(DbSessionStore(db), "setup")
        assert call(DbSessionStore(db), "append_message", "s", HELLO) == 1


def test_a_redis_knows_the_scripts(redis_server: redis_servers.Server, call: Call) -> None:
    with redis_server.client() as client:
        client.script_flush()
        with RedisSessionStore(redis_server.url, key_prefix=f"{uuid.uuid4()}:") as store:
            call(store, "setup")
            known = [scripts.APPEND, scripts.GET, scripts.LIST, scripts.UPDATE, scripts.DELETE]
            assert client.script_exists(*[one.sha.decode() for one in known]) == [True] * 5
            assert call(store, "append_message", "s", HELLO) == 1


def test_a_redis_that_permits_too_little_says_what(
    redis_server: redis_servers.Server, call: Call
) -> None:
    permit = partial(permissions.permit, redis_server.url, [redis_server])
    url = permit([command for command in ALWAYS if command not in ("zadd", "unlink")])
    with RedisSessionStore(url, key_prefix="sessionstore:setup:") as store:
        with pytest.raises(SessionStoreError, match="permit") as caught:
            call(store, "setup")
        assert re.findall(r"\+(\w+)", str(caught.value)) == ["zadd", "unlink"]
        permit(ALWAYS)  # SCRIPT is not among them
        call(store, "setup")
        assert call(store, "append_message", uuid.uuid4().hex, HELLO) == 1


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "postgresql://127.0.0.1:1/x"])
def test_a_server_that_is_not_there_is_an_error_of_its_kind(url: str, call: Call) -> None:
    with open_store(url, fallback=None) as store, pytest.raises(StoreConnectionError):
        call(store, "setup")


START = """
    import asyncio, sys
    from sessionstore import open_store

    url, number = sys.argv[1:]
    with open_store(url, fallback=None, timeout=60) as store:
        print("ready")
        input()
        if int(number) % 2:
            store.setup()
        else:
            asyncio.run(store.asetup())
        print(store.append_message(url[-32:], {"role": "user", "content": "Hello!"}))
"""


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["postgres", "sqlite", "redis"])
def test_twenty_processes_set_up_at_once(
    request: pytest.FixtureRequest, tmp_path: Path, warm: Warm, kind: str
) -> None:
    name = uuid.uuid4().hex
    database = nullcontext(f"sqlite:///{tmp_path}/{name}")
    if kind == "postgres":
        server = request.getfixturevalue("postgres")
        with PostgresAgentDb(server.url(), schema="x") as db, db._sync().connect() as connection:
            connection.commit()
            connection.exec_driver_sql(f"CREATE DATABASE d{name}")
        database = nullcontext(f"{server.url().rpartition('/')[0]}/d{name}")
    elif kind == "redis":
        redis_server = request.getfixturevalue("redis_server")
        with redis_server.client() as client:
            client.script_flush()
        database = nullcontext(f"{redis_server.url}?client_name={name}")
    with database as url, Children(warm) as children:
        assert children.start_together(20, START, url) == ["1\n"] * 20
        with open_store(url, fallback=None) as store:
            assert len(store.get_messages(url[-32:])) == 20


# -- A fallback, and a wrapper --------------------------------------------------------------------


def asked(store: FlakySessionStore) -> list[str]:
    return [type(one).__name__ for one in store.operations]


def pair(**options: Any) -> tuple[FlakySessionStore, FlakySessionStore, FallbackSessionStore]:
    primary, fallback = FlakySessionStore(), FlakySessionStore()
    store = FallbackSessionStore(primary, fallback=fallback, retry_after=0, **options)
    return primary, fallback, store


def test_a_fallback_sets_up_both_of_its_stores(call: Call) -> None:
    primary, fallback, store = pair()
    with store:
        call(store, "setup")
        assert (asked(primary), asked(fallback)[-1]) == (["Setup"], "Setup")
        assert not store.is_degraded()


def test_an_application_starts_in_an_outage(call: Call) -> None:
    primary, fallback, store = pair()
    with store:
        primary.go_down()
        for _ in range(3):
            call(store, "setup")
            assert store.is_degraded()
        assert call(store, "append_message", "s", HELLO) == 1
        primary.come_back()
        call(store, "setup")
        assert not store.is_degraded()
        assert asked(primary)[-3:] == ["Ping", "Setup", "Append"]  # which is replayed
        assert asked(fallback).count("Setup") == 4
        assert store.recover()
        assert len(primary.get_messages("s")) == 1


def test_a_primary_that_is_slow_to_be_set_up_condemns_nobody(call: Call) -> None:
    primary, _, store = pair()
    with store:
        primary.fail_next(2, error=StoreTimeoutError, on=Setup)
        for _ in range(2):
            call(store, "setup")
        assert not store.is_degraded()
        assert store.stats().slow_sessions == 0


@pytest.mark.parametrize("error", [StoreBusyError, SessionStoreError])
def test_what_a_primary_that_is_there_refuses_is_raised(
    call: Call, error: type[SessionStoreError]
) -> None:
    primary, _, store = pair()
    with store:
        primary.fail_next(error=error("permit +zadd"), on=Setup)
        with pytest.raises(error, match="zadd"):
            call(store, "setup")
        assert not store.is_degraded()


@pytest.mark.parametrize("is_down", [False, True])
def test_a_fallback_store_that_fails_is_an_error(call: Call, is_down: bool) -> None:
    primary, fallback, store = pair()
    with store:
        if is_down:
            primary.go_down()
        with fallback.outage(), pytest.raises(StoreConnectionError):
            call(store, "setup")
        call(store, "setup")


def test_a_wrapper_hands_it_on(call: Call) -> None:
    class Noting(WrapperSessionStore):
        def run(self, operation: Any) -> Any:
            noted.append(operation)
            return super().run(operation)

        async def arun(self, operation: Any) -> Any:
            noted.append(operation)
            return await super().arun(operation)

    noted: list[Any] = []
    call(Noting(Noting(InMemorySessionStore())), "setup")
    assert noted == [Setup(), Setup()]
