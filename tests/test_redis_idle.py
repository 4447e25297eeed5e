"""Connections that something between has forgotten while they were idle."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis_versions import TOPOLOGIES
from servers import redis as redis_servers
from servers.process import wait_until
from servers.proxy import Proxy
from stopwatch import Stopwatch

from sessionstore import RedisSessionStore, StoreTimeoutError, open_store
from sessionstore.redis import direct
from sessionstore.redis.async_direct import AsyncDirect
from sessionstore.testing.samples import said

CONNECTIONS = 6


@pytest.fixture
def proxy(redis_server: redis_servers.Server) -> Iterator[Proxy]:
    redis_server.run("FLUSHALL")
    with Proxy(redis_server.port) as proxy:
        yield proxy


def warm(store: Any) -> None:
    """Have so many connections opened at once."""
    barrier = threading.Barrier(CONNECTIONS)

    def write(number: int) -> None:
        barrier.wait()
        for _ in range(10):
            store.append_message(f"w{number}", said("x"))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def awarm(store: Any) -> None:
    await store.aappend_message("w", said("x"))
    for _ in range(5):
        calls = (store.aappend_message(f"w{n}", said("x")) for n in range(CONNECTIONS))
        await asyncio.gather(*calls)


def failed(
    mode: str, proxy: Proxy, fail: Callable[[Proxy], None], timeout: float
) -> list[Exception]:
    """Give what calls raised after the connections there are were forgotten."""
    errors: list[Exception] = []
    store = RedisSessionStore(f"redis://127.0.0.1:{proxy.port}", timeout=timeout)

    async def main() -> None:
        await awarm(store)
        fail(proxy)
        for number in range(12):
            try:
                await store.aappend_message("s", said("x", str(number)))
            except StoreTimeoutError as error:
                errors.append(error)
        await store.aclose()

    if mode == "async":
        asyncio.run(main())
        return errors
    with store:
        warm(store)
        fail(proxy)
        for number in range(12):
            try:
                store.append_message("s", said("x", str(number)))
            except StoreTimeoutError as error:
                errors.append(error)
    return errors


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_no_call_fails_when_idle_connections_were_reset(proxy: Proxy, mode: str) -> None:
    assert failed(mode, proxy, Proxy.forget, timeout=20.0) == []


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_at_most_one_call_fails_when_idle_connections_were_dropped_silently(
    proxy: Proxy, mode: str
) -> None:
    assert len(failed(mode, proxy, Proxy.hold, timeout=2.0)) <= 1


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_no_call_fails_when_long_idle_connections_were_dropped_silently(
    proxy: Proxy, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those are asked first, for a moment only, so that not even one call fails."""
    monkeypatch.setattr(direct, "FORGOTTEN", 0.0)
    asks = mode == "sync" or AsyncDirect.is_possible()
    assert len(failed(mode, proxy, Proxy.hold, timeout=2.0)) <= (0 if asks else 1)


def test_the_store_recovers_quickly_after_idle_connections_were_dropped(proxy: Proxy) -> None:
    url = f"redis://127.0.0.1:{proxy.port}"
    with open_store(url, timeout=0.3, retry_after=0.05) as store:
        warm(store)
        proxy.hold()
        for number in range(12):
            store.append_message("s", said("x", str(number)))
        with Stopwatch() as watch:
            while store.is_degraded() or store.pending():  # type: ignore[attr-defined]
                store.recover()
        assert watch.seconds < 2
        assert len(store.get_messages("s")) == 12


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_no_append_fails_in_any_topology_after_connections_were_reset(
    topology: str, request: pytest.FixtureRequest
) -> None:
    nodes = request.getfixturevalue(topology)
    servers = getattr(nodes, "masters", None) or [getattr(nodes, "master", nodes)]
    with RedisSessionStore(nodes.url, timeout=20.0) as store:
        warm(store)
        for server in servers:
            server.run("CLIENT", "KILL", "TYPE", "normal")
        for number in range(12):
            assert store.append_message("reset", said("x", str(number))) == 1
        store.delete("reset")


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_closed_store_holds_no_connection(
    topology: str, call: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    nodes = request.getfixturevalue(topology)
    servers = getattr(nodes, "masters", None) or [getattr(nodes, "master", nodes)]

    def connections() -> set[bytes]:
        lists = (server.run("CLIENT", "LIST", "TYPE", "NORMAL") for server in servers)
        lines = [line for clients in lists for line in clients.splitlines()]
        others = (b"cmd=client", b"name=sentinel")
        return {line.split(b" fd=")[0] for line in lines if not any(o in line for o in others)}

    before = connections()
    store = RedisSessionStore(nodes.url)
    for number in range(6):
        call(store, "append_message", f"s{number}", said("x"))
    assert connections() - before
    call(store, "close")
    wait_until(lambda: not connections() - before, "nothing is left open")
