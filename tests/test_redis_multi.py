"""redis-py's `MultiDBClient`, which fails over between databases, as a store's client."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from servers import redis as redis_servers
from servers.process import wait_until

from sessionstore import (
    FallbackSessionStore,
    RedisSessionStore,
    SessionLeasedError,
    SessionStoreError,
    StoreConnectionError,
    StoreUnavailableError,
)
from sessionstore.testing.samples import contents, conversation, ids, said

pytest.importorskip("redis.multidb.client", reason="needs redis-py 7 or later, and pybreaker")

from redis.asyncio.multidb import client as async_multi
from redis.asyncio.multidb import config as async_config
from redis.asyncio.retry import Retry as AsyncRetry
from redis.multidb import client as multi
from redis.multidb import config


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4()}:"


@pytest.fixture(scope="module")
def other_server() -> Iterator[redis_servers.Server]:
    with redis_servers.single() as server:
        yield server


def made(module: Any, settings: Any, retry: Any, urls: list[str], **options: Any) -> Any:
    """Make a client that is soon to fail over, and soon back."""
    # One round of checks, at the start: redis-py closes a client without waiting for a round that
    # is under way, and what that opens afterwards nobody closes.
    # Never twice the same dicts: redis-py puts its own options into them.
    databases = [
        settings.DatabaseConfig(weight=1 / place, from_url=url, grace_period=0.1)
        for place, url in enumerate(urls, start=1)
    ]
    quick = {
        "health_check_interval": 60,
        "health_check_probes": 1,
        "health_check_delay": 0,
        "min_num_failures": 1,
        "failure_rate_threshold": 0.0,
        "failover_delay": 0.05,
        "command_retry": retry(ConstantBackoff(0.02), 50),
        **options,
    }
    with pytest.warns(UserWarning, match="experimental"):
        return module.MultiDBClient(settings.MultiDbConfig(databases_config=databases, **quick))


@contextmanager
def sync_client(*urls: str, **options: Any) -> Iterator[Any]:
    client = made(multi, config, Retry, list(urls), **options)
    try:
        yield client
    finally:
        client.close()


def in_a_loop(work: Any, *urls: str, **options: Any) -> Any:
    """Do async work with a client of its loop, closed in the end."""

    async def main() -> Any:
        client = made(async_multi, async_config, AsyncRetry, list(urls), **options)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(main())


def test_a_multi_db_client_does_every_operation_sync(
    redis_server: redis_servers.Server, other_server: redis_servers.Server, prefix: str
) -> None:
    with sync_client(redis_server.url, other_server.url) as client:
        store = RedisSessionStore(client, key_prefix=prefix)
        assert repr(store) == f"RedisSessionStore('{redis_server.url}/0, {other_server.url}/0')"
        store.ping()
        store.create("s", user_id="u", messages=conversation(2), metadata={"a": 1})
        assert store.append_message("s", said("x", "x")) == 1
        store.replace_message("s", said("y", "x"))
        assert store.update("s", metadata={"b": 2}).metadata == {"a": 1, "b": 2}
        assert store.delete_messages("s", ["m0"]) == ["m0"]
        assert ids(store.get_messages("s")) == ["m1", "x"]
        assert [info.id for info in store.list_sessions(user_id="u").sessions] == ["s"]
        assert store.prune_expired() == 0
        with store.lease("s") as lease, pytest.raises(SessionLeasedError):
            store.lease("s").__enter__()
        with pytest.raises(SessionLeasedError):
            store.delete("s", lease=lease)
        assert store.delete("s")
        store.close()
        assert client.ping()  # the caller's stays open
        with pytest.raises(SessionStoreError, match="closed"):
            store.get("s")
    assert not other_server.client().keys(f"{prefix}*")


def test_a_multi_db_client_does_every_operation_async(
    redis_server: redis_servers.Server, other_server: redis_servers.Server, prefix: str
) -> None:
    async def work(client: Any) -> None:
        store = RedisSessionStore(client, key_prefix=prefix)
        await store.aping()
        await store.acreate("s", user_id="u", messages=conversation(2), metadata={"a": 1})
        at_once = [store.aappend_message("s", said("x", f"x{n}")) for n in range(20)]
        assert await asyncio.gather(*at_once) == [1] * 20
        await store.areplace_message("s", said("y", "x0"))
        assert (await store.aupdate("s", metadata={"b": 2})).metadata == {"a": 1, "b": 2}
        assert await store.adelete_messages("s", ["m0"]) == ["m0"]
        assert len(await store.aget_messages("s")) == 21
        assert [info.id for info in (await store.alist_sessions()).sessions] == ["s"]
        async with store.lease("s") as lease:
            await lease.arenew()
            assert await store.adelete("s", lease=lease)
        await store.aclose()
        assert await client.ping()

    in_a_loop(work, redis_server.url, other_server.url)


def test_an_async_multi_db_client_is_started_once_for_many_calls(prefix: str) -> None:
    """Each start would leave a round of health checks behind, each of which is a PING."""

    def pings(server: redis_servers.Server) -> int:
        return int(server.info("commandstats")["cmdstat_ping"]["calls"])

    async def work(client: Any) -> None:
        store = RedisSessionStore(client, key_prefix=prefix)
        await asyncio.gather(*(store.aget(f"s{number}") for number in range(20)))

    with redis_servers.single() as server:
        before = pings(server)
        in_a_loop(work, server.url)
        assert pings(server) - before == 1
        before = pings(server)
        with sync_client(server.url) as client:
            store = RedisSessionStore(client, key_prefix=prefix)
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(store.get, map(str, range(8))))
        assert pings(server) - before == 1


@contextmanager
def two_servers() -> Iterator[list[redis_servers.Server]]:
    with redis_servers.single() as first, redis_servers.single() as second:
        yield [first, second]


def kept_in(server: redis_servers.Server, prefix: str) -> list[str]:
    with RedisSessionStore(server.url, key_prefix=prefix) as store:
        return contents(store.get_messages("s"))


def test_a_sync_multi_db_client_fails_over_to_the_second_database(prefix: str) -> None:
    """What is written after it is in the second database; each write is acknowledged once."""
    with two_servers() as servers, sync_client(*(server.url for server in servers)) as client:
        store = RedisSessionStore(client, key_prefix=prefix)
        assert store.append_message("s", said("one")) == 1
        assert kept_in(servers[0], prefix) == ["one"]
        servers[0].kill()
        assert store.append_message("s", said("two")) == 1
        assert contents(store.get_messages("s")) == ["two"]
        assert kept_in(servers[1], prefix) == ["two"]
        servers[1].kill()
        with pytest.raises(StoreConnectionError):
            store.get("s")


def test_an_async_multi_db_client_fails_over_to_the_second_database(prefix: str) -> None:
    with two_servers() as servers:

        async def work(client: Any) -> None:
            store = RedisSessionStore(client, key_prefix=prefix)
            assert await store.aappend_message("s", said("one")) == 1
            servers[0].kill()
            assert await store.aappend_message("s", said("two")) == 1
            assert contents(await store.aget_messages("s")) == ["two"]
            servers[1].kill()
            with pytest.raises(StoreConnectionError):
                await store.aget("s")

        in_a_loop(work, *(server.url for server in servers))


def test_a_fallback_goes_on_when_all_databases_of_a_multi_db_client_are_down(prefix: str) -> None:
    """Where all databases are gone the fallback goes on, and its writes are replayed."""
    few = Retry(ConstantBackoff(0.02), 1)
    options = {"command_retry": few, "health_check_interval": 0.1}
    with redis_servers.single() as server, sync_client(server.url, **options) as client:
        primary = RedisSessionStore(client, key_prefix=prefix)
        with FallbackSessionStore(primary, retry_after=0.01, retry_cap=0.05) as store:
            store.append_message("s", said("one"))
            server.kill()
            store.append_message("s", said("two"))
            assert store.is_degraded()
            assert contents(store.get_messages("s")) == ["one", "two"]
            server.start()
            wait_until(store.recover, "all replayed")
        # The server had no file to keep what was there before.
        assert kept_in(server, prefix) == ["two"]
        server.kill()  # else a check that is under way could connect once more


def test_a_multi_db_client_refuses_calls_of_the_other_mode(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    with sync_client(redis_server.url) as client:
        store = RedisSessionStore(client, key_prefix=prefix)
        with pytest.raises(
            TypeError, match=r"is sync: call .* sync methods, .*redis\.asyncio\.mul"
        ):
            asyncio.run(store.aappend_message("s", said("x")))
        with pytest.raises(TypeError, match="is sync"):
            asyncio.run(store.aping())
        asyncio.run(store.aclose())

    async def work(client: Any) -> None:
        store = RedisSessionStore(client, key_prefix=prefix)
        for _ in range(2):
            with pytest.raises(
                TypeError, match=r"is async: call .* async methods, .*redis\.multidb"
            ):
                store.append_message("s", said("x"))
            assert await store.aget("s") is None
        with pytest.raises(TypeError, match="is async"):
            store.ping()
        store.close()

    in_a_loop(work, redis_server.url)


def test_an_async_multi_db_client_refuses_a_second_event_loop(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    async def work(client: Any) -> None:
        store = RedisSessionStore(client, key_prefix=prefix)
        assert await store.aget("s") is None

        def elsewhere(call: Coroutine[Any, Any, Any]) -> None:
            with pytest.raises(SessionStoreError, match="event loop of its first use"):
                asyncio.run(call)

        with ThreadPoolExecutor(1) as threads:
            await asyncio.wrap_future(threads.submit(elsewhere, store.aget("s")))

    in_a_loop(work, redis_server.url)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_an_async_multi_db_client_is_refused_after_a_fork(
    redis_server: redis_servers.Server,
) -> None:
    """Its sockets are the parent's, and what it was made of is not known."""

    async def work(client: Any) -> None:
        store = RedisSessionStore(client)
        child = store._clients.after_fork()  # what a fork does in the child
        with pytest.raises(SessionStoreError, match="forked process"):
            await child.asend([])
        with pytest.raises(TypeError, match="is async"):
            child.send([])

    in_a_loop(work, redis_server.url)


def test_databases_that_are_down_from_the_start_are_reported_with_the_policy_to_set(
    nobody_port: int,
) -> None:
    url = f"redis://127.0.0.1:{nobody_port}"
    with sync_client(url) as client:
        store = RedisSessionStore(client)
        with pytest.raises(StoreUnavailableError, match="initial_health_check_policy"):
            store.get("s")

    async def work(client: Any) -> None:
        with pytest.raises(StoreUnavailableError, match="initial_health_check_policy"):
            await RedisSessionStore(client).aget("s")

    in_a_loop(work, url)


@pytest.fixture
def nobody_port() -> int:
    return redis_servers.free_port()


def test_wait_replicas_is_refused_for_a_multi_db_client(redis_server: redis_servers.Server) -> None:
    refused = pytest.raises(ValueError, match="wait_replicas is not for a MultiDBClient")
    with sync_client(redis_server.url) as client, refused:
        RedisSessionStore(client, wait_replicas=1)


def test_a_multi_db_client_of_clusters_does_every_operation(
    redis_cluster: redis_servers.Cluster, prefix: str
) -> None:
    """Each key goes to its slot; a list of sessions is read one after the other."""
    node = redis_cluster.servers[0]
    options = {"client_class": redis.RedisCluster}
    with sync_client(node.url, **options) as client:
        store = RedisSessionStore(client, key_prefix=prefix)
        for number in range(5):
            store.append_messages(f"s{number}", conversation(2))
        assert len(store.list_sessions().sessions) == 5
        assert store.delete("s0")
        assert len(store.list_sessions().sessions) == 4

    async def work(client: Any) -> None:
        store = RedisSessionStore(client, key_prefix=prefix)
        assert await store.aappend_message("s9", said("x")) == 1
        assert len((await store.alist_sessions()).sessions) == 5

    in_a_loop(work, node.url, client_class=redis.asyncio.RedisCluster)
