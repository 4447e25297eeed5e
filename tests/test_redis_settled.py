"""A call that was cancelled, interrupted or given up took effect, or it never will."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from given_up import cancelled, under_way
from servers import redis as redis_servers
from servers.process import wait_until
from servers.proxy import Proxy
from stopwatch import Stopwatch

from sessionstore import RedisSessionStore, StoreTimeoutError, StoreUnavailableError
from sessionstore.operations import Append, GetMessages, Update
from sessionstore.redis.doubts import DOUBTS
from sessionstore.testing.samples import conversation, ids, said

TIMEOUT = 1.0


WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "create": ("acreate", {"messages": [said("x", "late")]}),
    "append": ("aappend_messages", {"messages": [said("x", "late")]}),
    "replace": ("areplace_message", {"message": said("late", "m0")}),
    "update": ("aupdate", {"messages": [said("x", "late")]}),
    "remove": ("adelete_messages", {"message_ids": ["m0"]}),
    "rewind": ("arewind", {"to": None}),
    "delete": ("adelete", {}),
}


@pytest.fixture
def proxy(redis_server: redis_servers.Server) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def calm(redis_server: redis_servers.Server) -> Iterator[RedisSessionStore]:
    """A store with a way of its own to the server: another process's, say."""
    redis_server.run("FLUSHALL")
    with RedisSessionStore(redis_server.url) as store:
        for name, (method, arguments) in WRITES.items():  # the server must know the scripts
            if name != "create":
                store.append_message(name, said("x", "m0"))
            getattr(store, method[1:])(name, **arguments)
        store.append_messages("s", conversation(3))
        store.run([GetMessages("append"), Append("append", []), Update("append", metadata={})])
        yield store


@pytest.fixture
def store(calm: RedisSessionStore, proxy: Proxy) -> Iterator[RedisSessionStore]:  # noqa: ARG001
    with RedisSessionStore(
        f"redis://127.0.0.1:{proxy.port}", timeout=redis_servers.PATIENCE
    ) as store:
        yield store


@pytest.fixture
def hasty(calm: RedisSessionStore, proxy: Proxy) -> Iterator[RedisSessionStore]:  # noqa: ARG001
    """A store for those who wait until its time is up."""
    with RedisSessionStore(f"redis://127.0.0.1:{proxy.port}", timeout=TIMEOUT) as store:
        yield store


def state(store: RedisSessionStore, session_id: str) -> Any:
    session = store.get(session_id)
    return session and (session.version, [(m.id, m.content) for m in session.messages])


@pytest.mark.parametrize("name", WRITES)
def test_a_cancelled_write_that_reaches_the_server_late_does_nothing(
    name: str, store: RedisSessionStore, calm: RedisSessionStore, proxy: Proxy
) -> None:
    method, arguments = WRITES[name]
    session_id = "new" if name == "create" else "s"

    async def main() -> None:
        await store.aappend_message("warm", said("x"))
        proxy.hold()
        await cancelled(getattr(store, method)(session_id, **arguments), proxy.held)
        assert await store.aappend_messages("s", [said("y", "after")]) == 1
        before = state(calm, session_id)
        proxy.let_through()
        assert state(calm, session_id) == before
        assert "after" in ids(calm.get_messages("s"))
        await store.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("name", WRITES)
def test_a_cancelled_write_is_settled_when_the_cancelled_call_returns(
    name: str, store: RedisSessionStore, calm: RedisSessionStore, proxy: Proxy
) -> None:
    """Another process, too, sees no more of it."""
    method, arguments = WRITES[name]
    session_id = "new" if name == "create" else "s"

    async def main() -> None:
        await store.aappend_message("warm", said("x"))
        before = state(calm, session_id)
        proxy.hold()
        await cancelled(getattr(store, method)(session_id, **arguments), proxy.held)
        proxy.let_through()
        assert state(calm, session_id) == before
        await store.aclose()

    asyncio.run(main())


def test_a_write_cancelled_while_the_server_was_paused_is_settled_by_the_next_call(
    hasty: RedisSessionStore,
    calm: RedisSessionStore,
    proxy: Proxy,
    redis_server: redis_servers.Server,
) -> None:
    """Nothing can be settled meanwhile: then the next call settles it."""

    async def main() -> None:
        await hasty.aappend_message("warm", said("x"))
        redis_server.pause()
        try:
            asked = proxy.round_trips()
            late = hasty.aupdate("s", messages=[said("x", "late")])
            with Stopwatch() as watch:
                await cancelled(late, lambda: proxy.round_trips() > asked)
            assert watch.seconds < TIMEOUT + 0.3
        finally:
            redis_server.resume()
        at_once = ids(await hasty.aget_messages("s"))
        assert await hasty.aappend_messages("s", [said("y", "after")]) == 1
        assert ids(calm.get_messages("s")) == [*at_once, "after"]
        await hasty.aclose()

    asyncio.run(main())


def test_a_write_that_timed_out_does_nothing_later(
    hasty: RedisSessionStore, calm: RedisSessionStore, proxy: Proxy
) -> None:
    hasty.append_message("warm", said("x"))
    proxy.hold()
    with pytest.raises(StoreTimeoutError):
        hasty.update("s", messages=[said("x", "late")])
    other = RedisSessionStore(f"redis://127.0.0.1:{proxy.port}", timeout=redis_servers.PATIENCE)
    assert other.append_messages("s", [said("y", "after")]) == 1
    proxy.let_through()
    assert ids(calm.get_messages("s")) == ["m0", "m1", "m2", "after"]
    other.close()


def test_a_delete_that_timed_out_does_nothing_after_a_later_list(
    hasty: RedisSessionStore, calm: RedisSessionStore, proxy: Proxy
) -> None:
    hasty.append_message("warm", said("x"))
    proxy.hold()
    with pytest.raises(StoreTimeoutError):
        hasty.delete("s")
    listed = hasty.list_sessions().sessions
    assert "s" in [info.id for info in listed]
    proxy.let_through()
    assert "s" in [info.id for info in calm.list_sessions().sessions]


def test_a_cancelled_write_that_took_effect_stays(
    store: RedisSessionStore, calm: RedisSessionStore, proxy: Proxy
) -> None:
    async def main() -> None:
        await store.aappend_message("warm", said("x"))
        proxy.delay(0.6)
        answered = proxy.answered()
        done = store.aappend_messages("s", [said("x", "done")])
        await cancelled(done, lambda: proxy.answered() > answered)
        assert ids(calm.get_messages("s")) == ["m0", "m1", "m2", "done"]
        proxy.carry()
        assert ids(await store.aget_messages("s")) == ["m0", "m1", "m2", "done"]
        await store.aclose()

    asyncio.run(main())


def test_cancelled_writes_under_cluster_leave_nothing_in_doubt(
    redis_cluster: redis_servers.Cluster,
) -> None:
    prefix = f"{uuid.uuid4()}:"

    async def main() -> None:
        async with RedisSessionStore(redis_cluster.url, key_prefix=prefix) as store:
            await store.aappend_message("s", said("x"))
            for number in range(40):
                write = asyncio.ensure_future(store.aappend_message("s", said("x", f"m{number}")))
                await asyncio.sleep(number * 0.00005)
                write.cancel()
                await asyncio.gather(write, return_exceptions=True)
            kept = ids(await store.aget_messages("s"))
            assert len(set(kept)) == len(kept)

    asyncio.run(main())
    assert not [place for place in DOUBTS.names if prefix.encode() in place[1]]


def test_a_write_that_is_cancelled_repeatedly_is_settled(
    store: RedisSessionStore, calm: RedisSessionStore, proxy: Proxy
) -> None:
    async def main() -> None:
        await store.aappend_message("warm", said("x"))
        proxy.hold()
        task = await under_way(store.aupdate("s", messages=[said("x", "late")]), proxy.held)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.let_through()
        assert ids(calm.get_messages("s")) == ["m0", "m1", "m2"]
        await store.aclose()

    asyncio.run(main())


def test_a_write_under_way_when_its_event_loop_ends_does_nothing_later(
    store: RedisSessionStore, calm: RedisSessionStore, proxy: Proxy
) -> None:
    async def main() -> None:
        await store.aappend_message("warm", said("x"))
        proxy.hold()
        await under_way(store.aupdate("s", messages=[said("x", "late")]), proxy.held)

    asyncio.run(main())
    assert store.append_messages("s", [said("y", "after")]) == 1
    proxy.let_through()
    assert ids(calm.get_messages("s")) == ["m0", "m1", "m2", "after"]


def test_writes_cancelled_while_they_wait_for_a_connection_do_nothing_later(
    calm: RedisSessionStore, proxy: Proxy
) -> None:
    url = f"redis://127.0.0.1:{proxy.port}?max_connections=1"

    async def main() -> None:
        async with RedisSessionStore(url, timeout=redis_servers.PATIENCE) as store:
            await store.aappend_message("warm", said("x"))
            proxy.hold()
            calls = [store.aappend_messages("s", [said("x", f"late{n}")]) for n in range(5)]
            tasks = [await under_way(call, proxy.held) for call in calls]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            proxy.let_through()
            assert ids(calm.get_messages("s")) == ["m0", "m1", "m2"]
            assert await store.aappend_messages("s", [said("y", "after")]) == 1
            assert ids(await store.aget_messages("s")) == ["m0", "m1", "m2", "after"]

    asyncio.run(main())


PROGRAM = """
import sys
from sessionstore import RedisSessionStore, SessionMessage
from sessionstore.operations import Append, GetMessages, Update
store = RedisSessionStore(sys.argv[1], timeout=5.0)
late = SessionMessage("user", "x", id="late")
store.append_message("warm", SessionMessage("user", "x"))
print("warm", flush=True)
sys.stdin.readline()
try:
    {write}
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    "write",
    [
        'store.update("s", messages=[late])',
        'store.run([GetMessages("s"), Append("s", [late]), Update("s", metadata={})])',
    ],
    ids=["one", "several"],
)
def test_a_write_interrupted_by_ctrl_c_does_nothing_later(
    calm: RedisSessionStore, proxy: Proxy, write: str
) -> None:
    url = f"redis://127.0.0.1:{proxy.port}"
    command = [sys.executable, "-c", PROGRAM.replace("{write}", write), url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "warm\n"
        proxy.hold()
        process.stdin.write("\n")
        process.stdin.flush()
        wait_until(lambda: proxy.held() == 1, "the write is on its way")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        proxy.let_through()
        assert ids(calm.get_messages("s")) == ["m0", "m1", "m2"]
        process.stdin.write("\n")


def test_answered_writes_cost_no_settling_command(
    store: RedisSessionStore, redis_server: redis_servers.Server
) -> None:
    """An ordinary day asks nothing more of the server."""
    store.append_message("s", said("x"))
    with suppress(StoreUnavailableError):
        store.append_message("s", said("x"))
    before = redis_server.info("commandstats")
    store.append_message("s", said("x"))
    after = redis_server.info("commandstats")
    assert after.get("cmdstat_eval") == before.get("cmdstat_eval")
