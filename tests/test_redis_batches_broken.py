"""Calls that share a connection which breaks, or whose callers leave: each stays itself."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from redis.crc import key_slot
from redis_crowds import CROWD, SHARE, crowd_of, through
from servers import redis as redis_servers
from servers.process import wait_until
from servers.proxy import Proxy
from stopwatch import Stopwatch

from sessionstore import (
    FallbackSessionStore,
    RedisSessionStore,
    StoreConnectionError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.redis.asked import MOST
from sessionstore.redis.async_direct import AsyncDirect
from sessionstore.testing.samples import ids, said


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4().hex}:"


@pytest.fixture
def proxy(redis_server: redis_servers.Server) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.mark.soak
def test_batches_whose_connections_break_are_done_once(proxy: Proxy, prefix: str) -> None:
    """Each call of them is tried again by itself, and adds its message once."""

    async def main() -> None:
        async with through(proxy, prefix, timeout=10.0) as store:
            await crowd_of(store, "first")
            for number in range(20):
                proxy.drop_replies(1)
                found = await crowd_of(store, f"{number}.")
                acknowledged = [n for n, one in enumerate(found) if one == 1]
                for n in acknowledged:
                    kept = ids(await store.aget_messages(f"s{n}", limit=50))
                    assert kept.count(f"{number}.{n}") == 1
                assert len(acknowledged) == CROWD, [one for one in found if one != 1][:1]
            for n in range(CROWD):
                session = await store.aget(f"s{n}", limit=0)
                assert session is not None
                assert session.version == 21

    asyncio.run(main())


def test_a_connection_cut_in_the_middle_of_a_batch_leaves_each_done_once(
    redis_server: redis_servers.Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were answered by then are not asked again; all others are, by themselves."""
    read, answers = AsyncDirect._read, itertools.count()

    async def cut(self: AsyncDirect, connection: Any) -> Any:
        if next(answers) == MOST // 2:
            await connection.disconnect(nowait=True)
        return await read(self, connection)

    async def main() -> None:
        async with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
            await crowd_of(store, "first")
            with monkeypatch.context() as patch:
                patch.setattr(AsyncDirect, "_read", cut)
                assert await crowd_of(store, "second") == [1] * CROWD
            assert (next(answers) > MOST // 2) == SHARE
            for n in range(CROWD):
                session = await store.aget(f"s{n}")
                assert session is not None
                assert ids(session.messages) == [f"first{n}", f"second{n}"]
                assert session.version == 2

    asyncio.run(main())


class Writers:
    """Tasks that append without a pause, each to a session of its own, and never twice the same."""

    def __init__(self) -> None:
        self.acknowledged: list[list[int]] = [[] for _ in range(CROWD)]
        self.refused = 0
        self.over = False

    async def write(self, store: RedisSessionStore, n: int) -> None:
        for number in itertools.takewhile(lambda _: not self.over, itertools.count()):
            try:
                await store.aappend_message(f"s{n}", said("x", str(number)))
            except StoreUnavailableError:
                self.refused += 1
            else:
                self.acknowledged[n].append(number)

    async def go_on(self) -> None:
        goal = self.count() + 2 * CROWD
        await asyncio.to_thread(wait_until, lambda: self.count() >= goal, "writers go on")

    def count(self) -> int:
        return sum(map(len, self.acknowledged))


@pytest.mark.soak
@pytest.mark.parametrize("start", [redis_servers.single, redis_servers.cluster])
def test_a_server_stopped_in_the_middle_of_batches_keeps_the_order(
    start: Callable[[], AbstractContextManager[Any]], prefix: str
) -> None:
    """What was given up took effect before all that came after it, or never."""
    writers = Writers()

    async def main(url: str, server: redis_servers.Server) -> None:
        async with RedisSessionStore(url, key_prefix=prefix, timeout=2.0) as store:
            writing = [asyncio.create_task(writers.write(store, n)) for n in range(CROWD)]
            await writers.go_on()
            server.pause()
            await asyncio.sleep(2.5)
            server.resume()
            await writers.go_on()
            writers.over = True
            await asyncio.gather(*writing)
            assert writers.refused
            for n, told in enumerate(writers.acknowledged):
                kept = [int(one) for one in ids(await store.aget_messages(f"s{n}"))]
                assert kept == sorted(set(kept))
                assert set(told) <= set(kept)

    with start() as nodes:
        asyncio.run(main(nodes.url, getattr(nodes, "masters", [nodes])[0]))


@pytest.mark.soak
def test_a_server_killed_in_the_middle_of_batches_loses_nothing(prefix: str) -> None:
    acknowledged: list[list[str]] = [[] for _ in range(CROWD)]

    async def write(store: RedisSessionStore, n: int, over: asyncio.Event) -> None:
        number = 0
        while not over.is_set():
            message = said("x", f"{n}.{number}")
            try:
                await store.aappend_message(f"s{n}", message)
            except StoreUnavailableError:
                await asyncio.sleep(0.01)  # and it is sent again
            else:
                acknowledged[n].append(str(message.id))
                number += 1

    async def main(server: redis_servers.Server) -> None:
        over = asyncio.Event()
        async with RedisSessionStore(server.url, key_prefix=prefix) as store:
            writers = [asyncio.create_task(write(store, n, over)) for n in range(CROWD)]
            for kill in range(5):
                wanted = sum(map(len, acknowledged)) + CROWD + 7 * kill
                await asyncio.to_thread(
                    wait_until,
                    lambda: sum(map(len, acknowledged)) >= wanted,  # noqa: B023
                    "some writes are acknowledged",
                )
                server.kill()
                await asyncio.to_thread(server.start)
            over.set()
            await asyncio.gather(*writers)
            for n, told in enumerate(acknowledged):
                kept = ids(await store.aget_messages(f"s{n}"))
                # The last one may be there though its answer was lost, and nobody asked again.
                assert kept in (told, [*told, f"{n}.{len(told)}"])

    with redis_servers.single(appendonly="yes", appendfsync="always") as server:
        asyncio.run(main(server))


def test_every_second_caller_is_cancelled_and_no_other(
    redis_server: redis_servers.Server, proxy: Proxy, prefix: str
) -> None:
    async def main() -> None:
        calm = RedisSessionStore(redis_server.url, key_prefix=prefix)
        async with through(proxy, prefix, timeout=20.0) as store, calm:
            await crowd_of(store, "first")
            proxy.delay(0.6)
            answered = proxy.answered()
            calls = [
                asyncio.create_task(store.aappend_message(f"s{n}", said("x", f"m{n}")))
                for n in range(CROWD)
            ]
            await asyncio.to_thread(wait_until, lambda: proxy.answered() > answered, "an answer")
            for call in calls[::2]:
                call.cancel()
            found = await asyncio.gather(*calls, return_exceptions=True)
            at_once = [ids(await calm.aget_messages(f"s{n}")) for n in range(CROWD)]
            assert found[1::2] == [1] * (CROWD // 2)
            assert all(isinstance(one, asyncio.CancelledError) for one in found[::2])
            assert all(f"m{n}" in at_once[n] for n in range(1, CROWD, 2))
            proxy.carry()
            await crowd_of(store, "last")
            later = [ids(await calm.aget_messages(f"s{n}")) for n in range(CROWD)]
            assert later == [[*kept, f"last{n}"] for n, kept in enumerate(at_once)]

    asyncio.run(main())


@pytest.mark.soak
def test_of_a_cluster_too_every_second_caller_is_cancelled_and_no_other(
    redis_cluster: redis_servers.Cluster, prefix: str
) -> None:
    async def main() -> None:
        async with RedisSessionStore(redis_cluster.url, key_prefix=prefix, timeout=20.0) as store:
            await crowd_of(store, "first")
            for server in redis_cluster.masters:
                server.pause()
            calls = [
                asyncio.create_task(store.aappend_message(f"s{n}", said("x", f"m{n}")))
                for n in range(CROWD)
            ]
            await asyncio.sleep(0.1)
            for call in calls[::2]:
                call.cancel()
            await asyncio.sleep(0.1)
            for server in redis_cluster.masters:
                server.resume()
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert found[1::2] == [1] * (CROWD // 2)
            assert all(isinstance(one, asyncio.CancelledError) for one in found[::2])
            at_once = [ids(await store.aget_messages(f"s{n}")) for n in range(CROWD)]
            assert all(f"m{n}" in at_once[n] for n in range(1, CROWD, 2))
            await crowd_of(store, "last")
            later = [ids(await store.aget_messages(f"s{n}")) for n in range(CROWD)]
            assert later == [[*kept, f"last{n}"] for n, kept in enumerate(at_once)]

    asyncio.run(main())


@pytest.mark.soak
def test_behind_connections_that_hang_nobody_waits(proxy: Proxy, prefix: str) -> None:
    async def main() -> None:
        async with through(proxy, prefix, timeout=2.0) as store:
            await crowd_of(store, "first")
            await asyncio.gather(*(store.aget_messages(f"s{n}") for n in range(5)))
            proxy.hold()  # the connections there are
            stuck = [asyncio.create_task(crowd_of(store, f"stuck{n}.")) for n in range(2)]
            await asyncio.sleep(0.01)
            if SHARE:
                assert await crowd_of(store) == [1] * CROWD
                assert not any(crowd.done() for crowd in stuck)
            late = [one for crowd in await asyncio.gather(*stuck) for one in crowd]
            unanswered = {type(one) for one in late} - {int}
            # Without sharing, most wait for a connection, and nobody was answered meanwhile.
            assert unanswered <= {StoreTimeoutError, *([] if SHARE else [StoreConnectionError])}
            assert unanswered

    asyncio.run(main())


def test_those_of_a_late_batch_tell_so(proxy: Proxy, prefix: str) -> None:
    async def main() -> None:
        async with through(proxy, prefix, timeout=0.5) as store:
            await crowd_of(store, "first")
            proxy.stall()
            together = 0
            for number in range(5):  # a busy machine may let all be late before they are sent
                found = await crowd_of(store, f"late{number}.")
                late = [one.batch for one in found if isinstance(one, StoreTimeoutError)]
                batches = Counter(batch for batch in late if batch is not None)
                assert max(batches.values(), default=0) <= MOST
                together = max(together, sum(batches.values()))
                if together > CROWD / 2:
                    break
            assert (together > CROWD / 2) == SHARE

    asyncio.run(main())


def test_to_a_fallback_a_late_batch_is_no_outage(
    redis_server: redis_servers.Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, batches = AsyncDirect.together, itertools.count()

    async def first_is_late(self: AsyncDirect, batch: list[Any], **options: Any) -> None:
        if not next(batches):
            raise redis.TimeoutError
        await together(self, batch, **options)

    async def main() -> None:
        primary = RedisSessionStore(redis_server.url, key_prefix=prefix)
        async with FallbackSessionStore(primary, retry_after=60.0, retry_cap=60.0) as store:
            await crowd_of(primary, "first")
            with monkeypatch.context() as patch:
                patch.setattr(AsyncDirect, "together", first_is_late)
                assert await crowd_of(store, "second") == [1] * CROWD
            assert not store.is_degraded()
            assert store.stats().slow_sessions == (MOST if SHARE else 0)
            assert await store.arecover()
            for n in range(CROWD):
                assert ids(await primary.aget_messages(f"s{n}")) == [f"first{n}", f"second{n}"]

    asyncio.run(main())


def slot(session_id: str) -> int:
    return int(key_slot(session_id.encode()))


@pytest.mark.soak
def test_calls_follow_a_slot_that_moves_and_fail_alone_meanwhile(prefix: str) -> None:
    moving = CROWD - 1  # and so not the first, which is no batch's

    async def main(cluster: redis_servers.Cluster) -> None:
        async with RedisSessionStore(cluster.url, key_prefix=prefix, timeout=20.0) as store:
            await crowd_of(store, "first")
            of = slot(f"s{moving}")
            own = of * 3 // redis_servers.SLOTS
            source, target = cluster.masters[own], cluster.masters[own - 1]
            old, new = (one.run("CLUSTER", "MYID") for one in (source, target))
            target.run("CLUSTER", "SETSLOT", of, "IMPORTING", old)
            source.run("CLUSTER", "SETSLOT", of, "MIGRATING", new)
            keys = source.run("CLUSTER", "GETKEYSINSLOT", of, 10)
            source.run("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5000)
            found = await crowd_of(store, "meanwhile")
            assert isinstance(found.pop(), StoreUnavailableError)
            assert found == [1] * moving
            for key in keys[1:]:
                source.run("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
            for server in (target, source, *cluster.masters):
                server.run("CLUSTER", "SETSLOT", of, "NODE", new)
            for number in range(3):
                assert await crowd_of(store, f"{number}.") == [1] * CROWD
            kept = ids(await store.aget_messages(f"s{moving}"))
            assert kept == [f"{said}{moving}" for said in ("first", "0.", "1.", "2.")]
            listed = await store.alist_sessions(limit=2 * CROWD)
            assert {info.id for info in listed.sessions} == {f"s{n}" for n in range(CROWD)}

    with redis_servers.cluster() as cluster:
        asyncio.run(main(cluster))


def test_each_call_has_its_own_deadline(proxy: Proxy, prefix: str) -> None:
    async def main() -> None:
        async with through(proxy, prefix, timeout=0.5) as store:
            await crowd_of(store, "first")
            proxy.stall()
            with Stopwatch() as watch:
                found = await crowd_of(store)
            assert watch.seconds < 1.0
            assert all(isinstance(one, StoreUnavailableError) for one in found)
            proxy.carry()
            for number in range(20):  # what is in doubt is settled first: a busy machine takes long
                if (found := await crowd_of(store, f"last {number}")) == [1] * CROWD:
                    break
            assert found == [1] * CROWD

    asyncio.run(main())


def test_whoever_cancels_all_tasks_of_a_loop_leaves_later_calls_as_they_were(
    proxy: Proxy, prefix: str
) -> None:
    async def main() -> None:
        async with through(proxy, prefix, timeout=1.0) as store:
            await crowd_of(store, "first")
            for steps in range(4):
                calls = [asyncio.create_task(crowd_of(store, f"{steps}.{n}")) for n in range(2)]
                for _ in range(steps):
                    await asyncio.sleep(0)
                others = asyncio.all_tasks() - {asyncio.current_task()}
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, *calls, return_exceptions=True)
                with Stopwatch() as watch:
                    assert await crowd_of(store, f"{steps}.") == [1] * CROWD
                assert watch.seconds < 0.9

    asyncio.run(main())
