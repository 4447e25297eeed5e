"""`timeout` is for the whole of a call, whatever is done in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis_versions import TOPOLOGIES
from servers import redis as redis_servers
from servers.proxy import Proxy
from stopwatch import Stopwatch

from sessionstore import RedisSessionStore, StoreUnavailableError
from sessionstore.deadline import until
from sessionstore.redis.event_loops import OfLoop
from sessionstore.redis.making import async_client
from sessionstore.redis.settings import settings_of_url
from sessionstore.testing import Stores
from sessionstore.testing.samples import conversation, ids, said

TIMEOUT = 1.0
NOISE = 0.3  # a busy machine


@pytest.fixture
def proxy(redis_server: redis_servers.Server) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(params=["sync", "async"])
def store(
    request: pytest.FixtureRequest, proxy: Proxy, redis_server: redis_servers.Server
) -> Iterator[Any]:
    redis_server.run("FLUSHALL")
    with RedisSessionStore(redis_server.url) as calm:
        calm.append_messages("s", conversation(20))
    with Stores(RedisSessionStore, request.param) as stores:
        yield stores.open(redis=f"redis://127.0.0.1:{proxy.port}", timeout=TIMEOUT)


def require_in_time(call: Callable[[], Any], timeout: float = TIMEOUT) -> None:
    with Stopwatch() as watch, pytest.raises(StoreUnavailableError) as caught:
        call()
    assert watch.seconds < timeout + NOISE
    assert caught.value.__cause__ is not None


def test_a_call_whose_answer_trickles_ends_at_its_timeout(store: Any, proxy: Proxy) -> None:
    assert len(store.get_messages("s")) == 20
    proxy.trickle(0.05)
    require_in_time(lambda: store.get_messages("s"))
    require_in_time(lambda: store.append_message("s", said("x", "late")))
    require_in_time(store.ping)
    proxy.carry()
    assert len(store.get_messages("s", limit=20)) == 20


def test_a_first_call_that_needs_many_answers_ends_at_its_timeout(store: Any, proxy: Proxy) -> None:
    proxy.delay(TIMEOUT * 0.6)
    require_in_time(lambda: store.append_message("s", said("x")))
    proxy.carry()
    assert store.append_message("s", said("x")) == 1


def test_a_second_try_has_only_the_time_that_the_first_left(store: Any, proxy: Proxy) -> None:
    store.append_message("s", said("x"))
    proxy.drop_replies(then=lambda: (time.sleep(TIMEOUT / 2), proxy.stall()))
    require_in_time(lambda: store.append_message("s", said("x", "once")))
    proxy.carry()
    store.append_message("s", said("x", "once"))
    assert ids(store.get_messages("s")).count("once") == 1


@pytest.mark.soak
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_calls_end_at_their_timeout_in_every_topology(
    topology: str, request: pytest.FixtureRequest
) -> None:
    """Also what asks Sentinels, or the nodes of a Cluster, one after the other."""
    nodes = request.getfixturevalue(topology)
    hosts = getattr(nodes, "masters", None) or getattr(nodes, "sentinels", None) or [nodes]
    scheme, _, _ = nodes.url.partition(":")
    proxies = [Proxy(one.port) for one in hosts]
    try:
        for one in proxies:
            one.__enter__()
            one.trickle(0.02)
        ports = ",".join(f"127.0.0.1:{one.port}" for one in proxies)
        path = f"/{redis_servers.SERVICE}/0" if "sentinel" in scheme else ""
        for mode in ("sync", "async"):
            with Stores(RedisSessionStore, mode) as stores:
                store = stores.open(redis=f"{scheme}://{ports}{path}", timeout=TIMEOUT)
                require_in_time(lambda: store.append_message("s", said("x")))  # noqa: B023
    finally:
        for one in proxies:
            one.__exit__(None, None, None)


def test_no_connection_is_opened_for_a_call_whose_time_is_up(proxy: Proxy) -> None:
    """A Cluster's client tries the next node where the one before failed."""

    async def main() -> None:
        client = async_client(settings_of_url(f"redis://127.0.0.1:{proxy.port}", TIMEOUT))
        of_loop = OfLoop(client, asyncio.Semaphore(1))
        with until(time.monotonic() - 1), pytest.raises(redis.TimeoutError):
            await client.execute_command("PING")
        assert proxy.connections() == 0
        assert await client.execute_command("PING")
        await of_loop.close()

    asyncio.run(main())


def test_a_call_inside_another_ends_at_the_deadline_of_the_outer_call(
    proxy: Proxy, call: Any
) -> None:
    with RedisSessionStore(f"redis://127.0.0.1:{proxy.port}", timeout=20.0) as store:
        call(store, "append_message", "s", said("x"))
        proxy.stall()
        with until(time.monotonic() + TIMEOUT):
            require_in_time(lambda: call(store, "append_message", "s", said("x")))


def test_the_timeout_of_a_store_is_its_argument_or_unknown_with_a_callers_client(
    redis_server: redis_servers.Server,
) -> None:
    assert RedisSessionStore(redis_server.url).timeout == 2.0
    assert RedisSessionStore(redis_server.url, timeout=0.5).timeout == 0.5
    with redis.Redis(port=redis_server.port, socket_timeout=0.5) as client:
        assert RedisSessionStore(client).timeout is None
