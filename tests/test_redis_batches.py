"""Calls on one event loop that wait at the same moment share a connection; each stays itself."""

from __future__ import annotations

import asyncio
import multiprocessing
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from redis_crowds import CROWD, SHARE, crowd_of, through
from servers import redis as redis_servers
from servers.proxy import Proxy

from sessionstore import (
    CorruptMessageError,
    RedisSessionStore,
    SessionAccessError,
    SessionConflictError,
    SessionNotFoundError,
)
from sessionstore.operations import Append, Get, GetMessages, Several
from sessionstore.redis.asked import MOST, shared_sizes
from sessionstore.redis.async_direct import AsyncDirect
from sessionstore.redis.reading import read
from sessionstore.redis.several import several
from sessionstore.testing.samples import conversation, ids, said


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4().hex}:"


@pytest.fixture
def proxy(redis_server: redis_servers.Server) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("topology", "most"),
    [("redis_server", CROWD / 4), ("redis_cluster", CROWD * 1.5), ("old_redis_guarded", CROWD / 2)],
)
def test_what_waits_at_the_same_moment_shares_a_write(
    topology: str, most: float, prefix: str, request: pytest.FixtureRequest
) -> None:
    nodes = request.getfixturevalue(topology)
    servers = getattr(nodes, "masters", None) or [getattr(nodes, "master", nodes)]

    def reads() -> int:
        return sum(int(one.info("stats")["total_reads_processed"]) for one in servers)

    async def main() -> None:
        async with RedisSessionStore(nodes.url, key_prefix=prefix) as store:
            await crowd_of(store, "first")
            counts: list[int] = []
            for text in "abc":  # what replicas and sentinels say meanwhile is read, too
                before = reads()
                assert await crowd_of(store, text) == [1] * CROWD
                counts.append(reads() - before)
            read = min(counts)
            assert read < (most if SHARE else 9 * CROWD), f"the servers read {read} times"

    asyncio.run(main())


def test_a_caller_alone_waits_for_no_task(redis_server: redis_servers.Server, prefix: str) -> None:
    async def main() -> None:
        async with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
            await store.aappend_message("s", said("x"))
            made: list[Any] = []
            asyncio.get_running_loop().set_task_factory(
                lambda loop, work, **options: (
                    made.append(work) or asyncio.Task(work, loop=loop, **options)
                )
            )
            for _ in range(5):
                await store.aget_messages("s", limit=20)
                await store.aappend_message("s", said("x"))
            assert made == [] or not SHARE

    asyncio.run(main())


def test_what_may_be_long_goes_by_itself() -> None:
    exchange = RedisSessionStore()._exchange

    def sizes(limit: int | None, **options: Any) -> list[int]:
        request = next(read(exchange, GetMessages("s", limit, **options)))
        return shared_sizes(request)

    assert min(sizes(20)) > 0
    assert min(sizes(20, before="m")) > 0
    assert not sizes(None)
    assert not sizes(None, before="m")
    assert not sizes(10_000)
    assert not shared_sizes([])
    exchange._permitted = True
    for other in (Get("s", 0), Append("s", [said("x")])):
        for limit in (20, 10_000, None):
            request = next(several(exchange, Several([GetMessages("s", limit), other])))
            assert bool(shared_sizes(request)) == (limit == 20)


def test_one_that_fails_fails_alone(redis_server: redis_servers.Server, prefix: str) -> None:
    async def main() -> None:
        async with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
            await store.aappend_message("theirs", said("x", "m"), user_id="them")
            await store.aappend_message("mine", said("x", "m"))
            await store.aappend_message("damaged", said("x", "m"))
            [head] = [
                key for key in redis_server.run("KEYS", f"*{prefix}*") if b"{damaged}:mess" in key
            ]
            redis_server.run("SET", head, "x")
            faults: dict[Any, Any] = {
                SessionAccessError: lambda: store.aget_messages("theirs", limit=5, user_id="me"),
                SessionConflictError: lambda: store.aappend_message(
                    "mine", said("x"), expected_version=7
                ),
                CorruptMessageError: lambda: store.aget_messages("damaged", limit=5),
                SessionNotFoundError: lambda: store.areplace_message("none", said("x", "m")),
            }
            for number, (kind, fault) in enumerate(faults.items()):
                failed = asyncio.ensure_future(fault())
                crowd = [
                    store.aappend_message(f"s{n}", said("x", f"{number}.{n}"))
                    for n in range(CROWD // 2)
                ]
                found = await asyncio.gather(*crowd[:9], failed, *crowd[9:], return_exceptions=True)
                assert isinstance(found.pop(9), kind)
                assert found == [1] * (CROWD // 2)

    asyncio.run(main())


def test_a_server_that_forgot_its_scripts_is_given_them(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    async def main() -> None:
        async with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
            await crowd_of(store, "first")
            redis_server.run("SCRIPT", "FLUSH")
            assert await crowd_of(store) == [1] * CROWD

    asyncio.run(main())


def test_what_was_large_when_it_was_read_goes_by_itself(
    redis_server: redis_servers.Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, shared = AsyncDirect.together, set[str]()

    async def noted(self: AsyncDirect, batch: list[Any], **options: Any) -> None:
        shared.update(asked.command.session_id for asked in batch)
        await together(self, batch, **options)

    async def main() -> None:
        async with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
            await crowd_of(store, "first")
            large = [said("x" * 20_000, f"m{n}") for n in range(20)]
            await store.aappend_messages("large", large)
            await store.aget_messages("s0", limit=20)  # the server knows the script

            async def among_others() -> bool:
                shared.clear()
                sessions = [*(f"s{n}" for n in range(CROWD)), "large"]
                reads = [store.aget_messages(one, limit=20) for one in sessions]
                found = await asyncio.gather(*reads)
                assert len(found.pop()) == len(await store.aget_messages("large"))
                assert [ids(one) for one in found] == [[f"first{n}"] for n in range(CROWD)]
                assert (len(shared) > CROWD / 2) == SHARE
                return "large" in shared

            assert await among_others() == SHARE  # nobody knew
            assert not await among_others()
            assert not await among_others()
            await store.adelete_messages("large", [str(one.id) for one in large[1:]])
            assert not await among_others()  # by which its size is known again
            assert await among_others() == SHARE

    with monkeypatch.context() as patch:
        patch.setattr(AsyncDirect, "together", noted)
        asyncio.run(main())


def test_what_the_sentinels_no_longer_name_is_not_used(
    old_redis_guarded: redis_servers.Guarded, prefix: str
) -> None:
    master = old_redis_guarded.master

    async def main() -> None:
        async with RedisSessionStore(old_redis_guarded.url, key_prefix=prefix) as store:
            await crowd_of(store, "first")
            of_loop = store._clients._of_loops.here()
            assert of_loop is not None
            of_loop.client.connection_pool.master_address = ("127.0.0.1", 1)
            before = master.info("stats")["total_connections_received"]
            assert await crowd_of(store) == [1] * CROWD
            opened = master.info("stats")["total_connections_received"] - before
            assert opened > 1  # and one that has asked

    if SHARE:
        asyncio.run(main())


def test_tasks_that_read_without_a_pause_starve_no_other(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    """Counted in turns, and not in time: a busy machine slows all of them."""
    turns = [0] * (30 + 10)

    async def take_turns(store: RedisSessionStore, n: int, over: asyncio.Event) -> None:
        while not over.is_set():
            if n < 30:
                await store.aget_messages(f"s{n}", limit=20)
            else:
                await store.aappend_message(f"s{n}", said("x"))
            turns[n] += 1
            if sum(turns) >= 4000:
                over.set()

    async def main() -> None:
        over = asyncio.Event()
        async with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
            for n in range(len(turns)):
                await store.aappend_messages(f"s{n}", conversation(20))
            await asyncio.gather(*(take_turns(store, n, over) for n in range(len(turns))))

    asyncio.run(main())
    assert min(turns) * 10 > sorted(turns)[len(turns) // 2]


def test_a_fork_with_operations_waiting_leaves_them_to_the_parent(
    proxy: Proxy, prefix: str
) -> None:
    async def main() -> None:
        async with through(proxy, prefix) as store:
            await crowd_of(store, "first")
            proxy.delay(0.1)
            calls = asyncio.gather(
                *(store.aappend_message(f"s{n}", said("x", f"m{n}")) for n in range(CROWD))
            )
            await asyncio.sleep(0.02)
            child = multiprocessing.get_context("fork").Process(target=in_child, args=(store,))
            child.start()
            assert await calls == [1] * CROWD
            await asyncio.to_thread(child.join)
            assert child.exitcode == 0
            proxy.carry()
            for n in range(CROWD):
                kept = ids(await store.aget_messages(f"s{n}", limit=9))
                assert kept.count(f"m{n}") == 1
            assert "child" in ids(await store.aget_messages("s0", limit=9))

    asyncio.run(main())


def in_child(store: RedisSessionStore) -> None:
    asyncio.run(store.aappend_message("s0", said("x", "child")))


def test_no_batch_is_larger_than_its_bound(proxy: Proxy, prefix: str) -> None:
    async def main() -> None:
        async with through(proxy, prefix) as store:
            await crowd_of(store, "first")
            sizes: list[int] = []
            together = AsyncDirect.together

            async def counted(self: AsyncDirect, batch: list[Any], **options: Any) -> None:
                sizes.append(len(batch))
                await together(self, batch, **options)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(AsyncDirect, "together", counted)
                await asyncio.gather(*(crowd_of(store, f"{n}.") for n in range(4)))
            assert max(sizes, default=MOST) == MOST
            assert bool(sizes) == SHARE

    asyncio.run(main())
