"""Who waits for a primary that is down: one caller at a time, once. Shown by counts and order."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Call
from faults import FaultyStore
from servers.outage import PostgresPrimary, Primary, RedisPrimary
from servers.postgres import PostgresServer
from servers.process import wait_until
from servers.proxy import Proxy
from servers.redis import Server as RedisServer

from sessionstore import FallbackSessionStore, InMemorySessionStore, SessionMessage

NEVER = 3600.0
LONG = 30.0


@pytest.fixture(params=["redis_server", "postgres"])
def primary(request: pytest.FixtureRequest) -> Iterator[Primary]:
    server = request.getfixturevalue(request.param)
    with Proxy(server.port) as proxy:
        if isinstance(server, RedisServer):
            server.run("FLUSHALL")
            yield RedisPrimary(server, proxy)
        else:
            assert isinstance(server, PostgresServer)
            yield PostgresPrimary(server, proxy)


def say(message_id: str) -> SessionMessage:
    return SessionMessage("user", "x", id=message_id)


def ids(messages: list[SessionMessage]) -> list[str]:
    return [str(message.id) for message in messages]


def contacts(primary: Primary) -> tuple[int, int]:
    return primary.proxy.connections(), primary.proxy.round_trips()


def test_only_the_first_call_of_an_outage_asks_the_primary(primary: Primary, call: Call) -> None:
    with (
        FallbackSessionStore(primary.store(LONG), retry_after=NEVER, retry_cap=NEVER) as store,
        primary.around() as around,
    ):
        around.delete("s")
        call(store, "append_message", "s", say("a"))
        primary.proxy.reset()
        assert call(store, "append_message", "s", say("b")) == 1
        primary.proxy.carry()  # it would answer now: a call that asked it would be seen
        before = contacts(primary)
        for number in range(20):
            call(store, "append_message", "s", say(f"c{number}"))
            call(store, "append_message", f"s{number}", say("d"))
            call(store, "get", "s")
            call(store, "get_messages", "unseen")
            call(store, "update", "s", metadata={"number": number})
            call(store, "list_sessions")
            call(store, "ping")
        assert contacts(primary) == before
        assert store.stats().probes == 0
        assert call(store, "recover")
        assert contacts(primary) != before
        assert ids(around.get_messages("s")) == ["a", "b", *(f"c{n}" for n in range(20))]


def test_no_call_meets_a_dead_primary_twice() -> None:
    """Whatever a call has to do there: its own work, a replay before it, and one behind it."""
    fallen = []
    dice = random.Random(7)  # noqa: S311 - no secret
    primary = FaultyStore(InMemorySessionStore())

    def fault() -> str | None:
        kind = dice.choice(["down", "lost", None, None])
        if kind:
            fallen.append(kind)
        return kind

    store = FallbackSessionStore(primary, retry_after=0)
    primary.fault = fault
    for number in range(2000):
        fallen.clear()
        session_id = f"s{dice.randrange(4)}"
        if dice.random() < 0.5:
            store.append_message(session_id, say(f"{number}"))
        else:
            store.get_messages(session_id)
        assert len(fallen) <= 1
    primary.come_back()
    assert store.recover()


def test_no_task_waits_for_the_one_that_probes(primary: Primary) -> None:
    async def main() -> None:
        async with FallbackSessionStore(primary.store(LONG), retry_after=0) as store:
            await store.adelete("s")
            await store.aappend_message("s", say("a"))
            primary.proxy.reset()
            await store.aappend_message("s", say("b"))
            primary.proxy.carry()
            primary.proxy.stall()
            tried = store.stats().probes
            prober = asyncio.create_task(store.aget_messages("s"))
            while store.stats().probes == tried:  # noqa: ASYNC110 - it says nothing when it tries
                await asyncio.sleep(0)
            others = [store.aappend_message("s", say(f"c{number}")) for number in range(32)]
            await asyncio.gather(*others, *(store.aget("s") for _ in range(32)))
            await store.alist_sessions()
            assert not prober.done()
            assert store.stats().probes == tried + 1
            primary.proxy.carry()
            assert ids(await prober)[:2] == ["a", "b"]
            assert await store.arecover()
            assert not store.pending()

    asyncio.run(main())


def test_no_thread_waits_for_the_one_that_probes(primary: Primary) -> None:
    with FallbackSessionStore(primary.store(LONG), retry_after=0) as store:
        store.delete("s")
        store.append_message("s", say("a"))
        primary.proxy.reset()
        store.append_message("s", say("b"))
        primary.proxy.carry()
        primary.proxy.stall()
        tried = store.stats().probes
        read: list[Any] = []
        prober = threading.Thread(target=lambda: read.extend(store.get_messages("s")))
        prober.start()
        wait_until(lambda: store.stats().probes > tried, "somebody tries")
        together: list[Callable[[], object]] = [
            lambda: store.append_message("s", say("c")),
            lambda: store.append_message("t", say("c")),
            lambda: store.get_messages("s"),
            store.list_sessions,
            store.pending,
            store.stats,
            store.recover,
        ]
        threads = [threading.Thread(target=one) for one in together]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert prober.is_alive()
        assert read == []
        primary.proxy.carry()
        prober.join()
        assert ids(read)[:2] == ["a", "b"]
        assert store.recover()
