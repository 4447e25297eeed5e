"""Where clients come from, whose they are, and what becomes of them: loops, threads and forks."""

from __future__ import annotations

import asyncio
import gc
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from traceback import walk_stack
from typing import Any

import pytest
import redis
import redis.asyncio
from frames import shows
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel
from redis_versions import TOPOLOGIES
from servers import redis as redis_servers
from servers.process import wait_until

from sessionstore import (
    InMemorySessionStore,
    InvalidSessionError,
    RedisSessionStore,
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreTimeoutError,
    StoreUnavailableError,
    open_store,
)
from sessionstore.redis.doubts import DOUBTS
from sessionstore.testing.samples import conversation, ids, said


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4()}:"


@pytest.fixture
def alone() -> Iterator[redis_servers.Server]:
    """A server that nobody else is connected to."""
    with redis_servers.single() as server:
        yield server


def connected(server: redis_servers.Server) -> int:
    return len(server.run("CLIENT", "LIST").splitlines()) - 1


# -- The caller's clients --------------------------------------------------------------------------


def use_sync_and_async(client: Any, prefix: str, *, sync: bool) -> None:
    """Use a store on the caller's client, twice on loops, and close it: the client lives on."""
    store = RedisSessionStore(client, key_prefix=prefix)

    async def use(client_too: Any = None) -> None:
        assert await store.aappend_message("s", said("x")) == 1
        if client_too is not None:
            await client_too.ping()

    store.append_messages("s", conversation(2))
    if sync:
        asyncio.run(use())
    asyncio.run(use())
    assert len(store.get_messages("s")) >= 3
    assert [info.id for info in store.list_sessions().sessions] == ["s"]
    store.close()


def test_a_sync_client_of_the_caller_is_used_and_left_open(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    with redis.Redis(port=redis_server.port, decode_responses=True) as client:
        use_sync_and_async(client, prefix, sync=True)
        assert client.ping()


def test_a_sync_cluster_client_of_the_caller_is_used_and_left_open(
    redis_cluster: redis_servers.Cluster, prefix: str
) -> None:
    with redis_cluster.client(decode_responses=True) as client:
        use_sync_and_async(client, prefix, sync=True)
        assert client.set("x", "y")


def test_a_sync_sentinel_client_of_the_caller_is_used_and_left_open(
    old_redis_guarded: redis_servers.Guarded, prefix: str
) -> None:
    hosts = [("127.0.0.1", one.port) for one in old_redis_guarded.sentinels]
    manager = Sentinel(hosts, socket_timeout=1)
    with manager.master_for(redis_servers.SERVICE, db=1) as client:
        use_sync_and_async(client, prefix, sync=True)
        assert client.ping()
        assert client.dbsize() > 0
    for sentinel in manager.sentinels:
        sentinel.close()


def test_an_async_client_of_the_caller_is_used_and_left_open(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    client = redis.asyncio.Redis(port=redis_server.port, decode_responses=True)
    store = RedisSessionStore(client, key_prefix=prefix)

    async def main() -> None:
        async with client:
            assert await store.aappend_messages("s", conversation(2)) == 2
            threading_ids = await asyncio.to_thread(store.get_messages, "s")
            assert ids(threading_ids) == ["m0", "m1"]
            await store.aclose()
            assert await client.ping()

    asyncio.run(main())


def test_an_async_cluster_client_of_the_caller_is_used_and_left_open(
    redis_cluster: redis_servers.Cluster, prefix: str
) -> None:
    async def main() -> None:
        port = redis_cluster.masters[0].port
        async with redis.asyncio.RedisCluster("127.0.0.1", port) as client:
            async with RedisSessionStore(client, key_prefix=prefix) as store:
                assert await store.aappend_messages("s", conversation(2)) == 2
                assert len(await asyncio.to_thread(store.get_messages, "s")) == 2
                page = await store.alist_sessions()
                assert [info.id for info in page.sessions] == ["s"]
            assert await client.ping()

    asyncio.run(main())


def test_an_async_sentinel_client_of_the_caller_is_used_and_left_open(
    old_redis_guarded: redis_servers.Guarded, prefix: str
) -> None:
    async def main() -> None:
        hosts = [("127.0.0.1", one.port) for one in old_redis_guarded.sentinels]
        manager = AsyncSentinel(hosts, socket_timeout=1)
        async with manager.master_for(redis_servers.SERVICE) as client:
            async with RedisSessionStore(client, key_prefix=prefix) as store:
                assert await store.aappend_messages("s", conversation(2)) == 2
                assert len(await asyncio.to_thread(store.get_messages, "s")) == 2
            assert await client.ping()
        for sentinel in manager.sentinels:
            await sentinel.aclose()

    asyncio.run(main())


def test_a_tracer_of_redis_py_sees_every_command(
    redis_server: redis_servers.Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    for kind in (redis.Redis, redis.asyncio.Redis):
        plain: Any = kind.execute_command

        def traced(*args: Any, _plain: Any = plain, **options: Any) -> Any:
            heard.append(args[1])
            return _plain(*args, **options)

        monkeypatch.setattr(kind, "execute_command", traced)
    with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
        store.append_message("s", said("x"))
        for _ in range(3):
            store.get_messages("s")
            asyncio.run(store.aget_messages("s"))
    assert heard.count("EVALSHA") >= 6


@pytest.mark.parametrize("client", [None, 7, b"redis://", object(), redis.ConnectionPool()])
def test_only_urls_and_clients_are_taken(client: Any) -> None:
    with pytest.raises(TypeError, match="URL or a client"):
        RedisSessionStore(client)


# -- URLs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://u:secret@h:1/2?socket_timeout=1", "redis://h:1/2"),
        ("rediss://:secret@h", "rediss://h:6379/0"),
        ("redis://h?password=secret", "redis://h:6379/0"),
        ("unix://u:secret@/tmp/s.sock?db=3", "unix:///tmp/s.sock?db=3"),
        ("redis+sentinel://u:secret@a,b:7/name/2", "redis+sentinel://a:26379,b:7/name"),
        ("redis+sentinel://a/name?sentinel_password=secret", "redis+sentinel://a:26379/name"),
        ("redis+cluster://u:secret@a:1,[::1]:2", "redis+cluster://a:1,::1:2"),
        ("rediss+cluster://a", "redis+cluster://a:6379"),
        ("REDIS+Cluster://a/0", "redis+cluster://a:6379"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert repr(RedisSessionStore(url)) == f"RedisSessionStore({shown!r})"
    assert repr(open_store(url, fallback=None)) == f"RedisSessionStore({shown!r})"
    wrapped = f"FallbackSessionStore(RedisSessionStore({shown!r}), healthy, <0 pending>)"
    assert repr(open_store(url)) == wrapped


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@h:port",
        "redis://u:secret@h/name",
        "redis://u:secret@h?tiemout=1",
        "redis://u:secret@h?db=x",
        "redis+sentinel://u:secret@h",
        "redis+cluster://u:secret@h:99999",
        "redis+cluster://u:secret@h/5",
        "redis+cluster://u:secret@h?db=5",
        "http://u:secret@h",
        "redis:/u:secret@h",
        "",
    ],
)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="Redis") as caught:
        RedisSessionStore(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert shows(caught.value, "secret") == []
    with pytest.raises(ValueError, match="URL") as caught:
        open_store(url)
    assert shows(caught.value, "secret") == []


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": float("nan")},
        {"wait_replicas": -1},
        {"wait_replicas": True},
        {"key_prefix": 7},
        {"key_prefix": "\ud800"},
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        RedisSessionStore(**options)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("retry_on_timeout=true", "tries again"),
        ("retry_on_error=x", "tries again"),
        ("timeout=1", "argument of the store"),
        ("tiemout=1", "no option 'tiemout'"),
        ("max_connections=0", "above 0"),
    ],
)
def test_an_unknown_option_is_refused(option: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RedisSessionStore(f"redis://u:secret@h?decode_responses=true&{option}")


def test_options_for_decoding_replies_change_nothing(
    redis_server: redis_servers.Server, prefix: str, call: Any
) -> None:
    options = "?decode_responses=true&encoding=latin-1&encoding_errors=ignore"
    with RedisSessionStore(redis_server.url + options, key_prefix=prefix) as store:
        call(store, "append_messages", "s", [said("\N{GRINNING FACE}", "m0")])
        assert [m.content for m in call(store, "get_messages", "s")] == ["\N{GRINNING FACE}"]


def test_retention_days_of_open_store_reaches_redis(redis_server: redis_servers.Server) -> None:
    with open_store(redis_server.url, retention_days=0.5 / 86_400) as store:
        session_id = store.create().id
        wait_until(lambda: store.get(session_id) is None, "expiry")
    with pytest.raises(InvalidSessionError):
        open_store(redis_server.url, retention_days=0)
    assert isinstance(open_store("memory:"), InMemorySessionStore)


def test_a_unix_socket_takes_sync_and_async_calls() -> None:
    with redis_servers.single(unixsocket="s.sock") as server:
        store = RedisSessionStore(f"unix://{server.home}/s.sock?db=1")
        assert store.append_message("s", said("x")) == 1
        asyncio.run(store.aping())
        store.close()


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def started(program: str, *args: str, warnings: str = "error") -> subprocess.Popen[str]:
    """Start a program in which each warning is an error that is shown."""
    command = [sys.executable, "-W", warnings, "-c", program, *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_import_needs_no_driver() -> None:
    program = "import sessionstore, sys; assert 'redis' not in sys.modules; sessionstore.Redis"
    done = run(program)
    assert "has no attribute 'Redis'" in done.stderr


def test_a_missing_driver_is_named() -> None:
    program = "import sys; sys.modules['redis'] = None; from sessionstore import RedisSessionStore"
    done = run(program)
    assert "pip install 'sessionstore[redis]'" in done.stderr


# -- Loops, threads, forks -------------------------------------------------------------------------


def test_connections_are_closed_when_their_event_loop_ends(alone: redis_servers.Server) -> None:
    store = RedisSessionStore(alone.url)
    for _ in range(3):
        asyncio.run(store.aping())
        wait_until(lambda: connected(alone) == 0, "connections are closed")
    store.close()


def test_a_loop_may_end_while_another_begins(redis_server: redis_servers.Server) -> None:
    with RedisSessionStore(redis_server.url) as store:
        loops = store._clients._of_loops._held
        for key in range(3):
            loops[key] = loops.clear  # what another thread's loop does as it ends
        asyncio.run(store.aget("s"))


def test_connections_are_closed_with_an_event_loop_that_is_only_closed(
    alone: redis_servers.Server,
) -> None:
    store = RedisSessionStore(alone.url)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(store.aping())
        loop.close()
        del loop
    store.close()
    gc.collect()
    wait_until(lambda: connected(alone) == 0, "connections are closed")


def test_a_loop_that_is_closed_closes_its_connections_at_once(alone: redis_servers.Server) -> None:
    """Without the collector, and in silence, whatever else holds them still."""
    store = RedisSessionStore(alone.url)
    gc.disable()
    try:
        for _ in range(3):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(store.aget("s"))
            (held,) = store._clients._of_loops.all()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                loop.close()
            wait_until(lambda: connected(alone) == 0, "connections are closed")
            assert not held._opened.connections  # type: ignore[union-attr]
    finally:
        gc.enable()
    store.close()


def test_a_connection_that_is_collected_first_closes_them_all(alone: redis_servers.Server) -> None:
    """The collector may come to it before its transport, which would warn."""
    store = RedisSessionStore(alone.url)
    loop = asyncio.new_event_loop()

    async def read() -> None:
        await asyncio.gather(*(store.aget("s") for _ in range(3)))

    loop.run_until_complete(read())
    (held,) = store._clients._of_loops.all()
    opened = held._opened.connections  # type: ignore[union-attr]
    assert len(opened) == connected(alone) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(iter(opened)).__del__()
    assert not opened
    wait_until(lambda: connected(alone) == 0, "connections are closed")
    loop.close()
    store.close()


def test_a_store_that_is_dropped_on_a_loop_closes_its_connections(
    alone: redis_servers.Server,
) -> None:
    async def main() -> None:
        for _ in range(3):
            await RedisSessionStore(alone.url).aget("s")
        gc.collect()
        while connected(alone):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_loop_that_is_only_dropped(alone: redis_servers.Server) -> None:
    """Nobody closes it: its connections go with it all the same, and nothing complains of them."""
    program = """
import asyncio, gc, sys
from sessionstore import RedisSessionStore
store = RedisSessionStore(sys.argv[1])
for _ in range(13):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.wait_for(store.aget("s"), 10))
    del loop
gc.collect()
print("dropped", flush=True)
sys.stdin.readline()
"""
    # In which order the collector ends what it found together is its own affair.
    with started(program, alone.url, warnings="default::RuntimeWarning") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "dropped\n"
        wait_until(lambda: connected(alone) == 0, "connections are closed")
        _, complaints = process.communicate("\n", timeout=30)
        assert (process.returncode, complaints) == (0, "")


def test_event_loops_that_are_left_open_at_exit_cause_no_warning(
    alone: redis_servers.Server,
) -> None:
    """As notebooks do that run a loop within a loop: it is never closed, nor ended."""
    program = """
import asyncio, sys, warnings
from sessionstore import RedisSessionStore
warnings.filterwarnings("ignore", "unclosed event loop")  # which is the program's own doing
store = RedisSessionStore(sys.argv[1])

def run_within(loop, call):
    # What nest_asyncio does: the task and the loop that run are put aside.
    outer, task = asyncio.get_running_loop(), asyncio.current_task()
    asyncio.tasks._leave_task(outer, task)
    asyncio._set_running_loop(None)
    try:
        return loop.run_until_complete(call)
    finally:
        asyncio._set_running_loop(outer)
        asyncio.tasks._enter_task(outer, task)

async def main(inner):
    await store.aget("s")
    run_within(inner, store.aget("s"))
    await store.aget("s")

loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
loops[0].run_until_complete(main(loops[1]))
print("done", flush=True)
"""
    with started(program, alone.url) as process:
        said_there, complaints = process.communicate("\n", timeout=30)
    assert (process.returncode, said_there, complaints) == (0, "done\n", "")


def test_connections_are_closed_with_a_store_that_is_only_dropped(
    alone: redis_servers.Server,
) -> None:
    RedisSessionStore(alone.url).ping()
    gc.collect()
    wait_until(lambda: connected(alone) == 0, "connections are closed")


def test_a_store_can_be_closed_from_another_thread(alone: redis_servers.Server) -> None:
    store = RedisSessionStore(alone.url)

    async def use() -> None:
        await store.aping()
        await asyncio.to_thread(store.close)
        while connected(alone):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.01)
        with pytest.raises(SessionStoreError, match="closed"):
            await store.aping()

    store.ping()
    asyncio.run(asyncio.wait_for(use(), 10))


def test_a_store_closed_while_its_loop_is_idle_leaves_its_tasks_to_that(
    alone: redis_servers.Server,
) -> None:
    """What waits for an answer hears of it on its loop, when that runs again."""
    store, loop = RedisSessionStore(alone.url), asyncio.new_event_loop()

    async def read() -> None:
        await store.aget_messages("s")

    async def begin() -> list[asyncio.Task[None]]:
        await read()
        alone.pause()
        tasks = [asyncio.create_task(read()) for _ in range(3)]
        await asyncio.sleep(0.1)
        return tasks

    try:
        tasks = loop.run_until_complete(begin())
        store.close()
        assert not any(task.done() for task in tasks)
        ended = loop.run_until_complete(asyncio.wait_for(_outcomes(tasks), 10))
    finally:
        alone.resume()
        loop.close()
    assert {type(error) for error in ended} == {SessionStoreError}


async def _outcomes(tasks: list[asyncio.Task[None]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_closed_store_makes_no_client() -> None:
    store = RedisSessionStore("redis+cluster://127.0.0.1:1")
    store.close()
    with pytest.raises(SessionStoreError, match="closed"):
        store.ping()


def test_many_tasks_share_few_connections(alone: redis_servers.Server) -> None:
    async def main() -> None:
        # A busy machine may take long for all of them.
        async with RedisSessionStore(alone.url, timeout=20.0) as store:
            await asyncio.gather(*(store.aappend_message("s", said("x")) for _ in range(500)))
            assert len(await store.aget_messages("s")) == 500
            # 50 requests at once, and the one that what needs several commands has left behind.
            # The server takes its time to notice that one is closed.
            wait_until(lambda: connected(alone) <= 51, "they do not share")

    asyncio.run(main())


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_threads_wait_for_one_of_few_connections(
    topology: str, prefix: str, request: pytest.FixtureRequest
) -> None:
    url = f"{request.getfixturevalue(topology).url}?max_connections=2"
    failed: list[Exception] = []

    def write(store: RedisSessionStore) -> None:
        try:
            for _ in range(30):
                store.append_message("s", said("x"))
        except SessionStoreError as error:
            failed.append(error)

    with RedisSessionStore(url, key_prefix=prefix, timeout=20.0) as store:
        threads = [threading.Thread(target=write, args=(store,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(store.get_messages("s")) == 360


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_tasks_wait_for_one_of_few_connections(
    topology: str, prefix: str, request: pytest.FixtureRequest
) -> None:
    async def main(url: str) -> None:
        async with RedisSessionStore(url, key_prefix=prefix, timeout=20.0) as store:
            await asyncio.gather(*(store.aappend_message("s", said("x")) for _ in range(360)))
            assert len(await store.aget_messages("s")) == 360

    asyncio.run(main(f"{request.getfixturevalue(topology).url}?max_connections=2"))


def test_the_wait_for_a_connection_ends_at_the_timeout(alone: redis_servers.Server) -> None:
    with RedisSessionStore(f"{alone.url}?max_connections=1", timeout=1.0) as store:
        store.append_message("s", said("x"))
        alone.pause()
        try:
            with ThreadPoolExecutor(4) as pool:
                calls = [pool.submit(store.get, "s") for _ in range(4)]
                errors = [call.exception(timeout=30) for call in calls]
        finally:
            alone.resume()
        # One waits for its answer, and the others for that one: nobody was answered meanwhile.
        assert {type(error) for error in errors} <= {StoreTimeoutError, StoreConnectionError}
        wait_until(alone.is_ready, "server is back")
        assert store.append_message("s", said("x")) == 1


@pytest.mark.soak
@pytest.mark.parametrize("fallback", ["memory:", None])
def test_calls_that_wait_for_a_connection_in_an_outage_are_not_told_busy(
    alone: redis_servers.Server, fallback: Any
) -> None:
    """Others were answered since the wait began: that was before."""
    count, timeout = 64, 0.5

    async def main() -> list[Any]:
        url = f"{alone.url}?max_connections=4"
        async with open_store(url, timeout=timeout, fallback=fallback) as store:
            silent_since = math.inf

            async def write(number: int) -> None:
                while silent_since == math.inf:
                    began = time.monotonic()
                    try:
                        await store.aappend_message(f"s{number}", said("x"))
                    except StoreBusyError:  # as it may be on a busy machine, but for the silence
                        now = time.monotonic()
                        if now - silent_since > (now - began) / 2:
                            raise
                    if store.is_degraded():  # on a busy machine, where a journal would be full soon
                        await asyncio.sleep(0.05)

            calls = [asyncio.create_task(write(number)) for number in range(count)]
            for number in range(count):  # each goes once before this one goes again
                with suppress(StoreUnavailableError):
                    await store.aget(f"s{number}")
            alone.pause()
            try:
                silent_since = time.monotonic()
                return await asyncio.gather(*calls, return_exceptions=True)
            finally:
                alone.resume()

    expected = () if fallback else (StoreTimeoutError, StoreConnectionError)
    errors = [error for error in asyncio.run(main()) if error]
    assert [error for error in errors if not isinstance(error, expected)] == []


def test_a_callers_client_without_a_free_connection_is_busy(alone: redis_servers.Server) -> None:
    client = redis.Redis(port=alone.port, max_connections=1, socket_timeout=5.0)
    with RedisSessionStore(client) as store, client.pipeline() as pipeline:
        store.append_message("s", said("x"))
        pipeline.watch("x")  # holds the one connection
        with pytest.raises(StoreBusyError, match="no connection left"):
            store.get("s")
        store.ping()  # which has one of its own
    client.close()


def test_a_cancelled_task_leaves_its_reply_to_no_other_task(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    async def main() -> None:
        async with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
            await store.aappend_messages("s", conversation(50))
            for delay in range(30):
                task = asyncio.create_task(store.aget_messages("s"))
                await asyncio.sleep(delay / 10_000)
                task.cancel()
                got = await store.aget_messages("s", limit=1)
                assert ids(got) == ["m49"]
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


OURS = os.path.join("sessionstore", "redis", "")


def interrupted_at(step: int, call: Any) -> bool:
    """Call, break it off where a step begins or ends, and tell whether there are so many."""
    steps = iter(range(step))

    def watch(frame: Any, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if OURS not in name and not name.endswith("connection.py"):
            return None
        if event not in ("call", "return") or next(steps, None) is not None:
            return watch
        if any(one.f_code.co_name == "__del__" for one, _ in walk_stack(frame)):
            return watch  # Python would swallow it
        raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


# A socket that is just being made is left to the collector, which says so.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("connected_before", [True, False])
def test_ctrl_c_leaves_no_reply_and_no_connection(
    alone: redis_servers.Server, *, connected_before: bool
) -> None:
    """At whichever step: of a command, or of the greeting of a connection that is opened for it."""
    with RedisSessionStore(alone.url, timeout=20.0) as store, alone.client() as other:
        store.append_message("s", said("x", "m0"))
        step = 0
        while interrupted_at(step, lambda: store.get("s")):
            assert ids(store.get_messages("s")) == ["m0"]
            if not connected_before:
                other.client_kill_filter(_type="normal")
            step += 1
        assert step > 30
        gc.collect()
        wait_until(lambda: connected(alone) <= 2, "all but the store's and the other's are closed")


def test_threads_share_one_store(redis_server: redis_servers.Server, prefix: str) -> None:
    with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:

        def write() -> None:
            for _ in range(20):
                store.append_messages("s", [said("a"), said("b")])

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        texts = [message.content for message in store.get_messages("s")]
        assert texts == ["a", "b"] * 160


def test_a_fork_has_connections_of_its_own(redis_server: redis_servers.Server, prefix: str) -> None:
    with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
        store.append_message("s", said("x", "before"))
        forks = multiprocessing.get_context("fork")
        children = [forks.Process(target=write_both, args=(store, n)) for n in range(3)]
        for child in children:
            child.start()
        for number in range(50):
            store.append_message("s", said("x", f"parent{number}"))
        for child in children:
            child.join()
            assert child.exitcode == 0
        assert len(store.get_messages("s")) == 51 + 3 * 60


def write_both(store: RedisSessionStore, number: int) -> None:
    async def main() -> None:
        for count in range(30):
            await store.aappend_message("s", said("x", f"async{number}.{count}"))

    for count in range(30):
        store.append_message("s", said("x", f"child{number}.{count}"))
    asyncio.run(main())
    store.close()


def test_a_closed_store_is_closed_after_a_fork_too(redis_server: redis_servers.Server) -> None:
    store = RedisSessionStore(redis_server.url)
    store.close()

    def in_child() -> None:
        with pytest.raises(SessionStoreError, match="closed"):
            store.get("s")

    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    child.join()
    assert child.exitcode == 0


def test_a_fork_while_another_thread_holds_a_lock_leaves_the_child_free(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    """A lock that it held would never be released in the child."""
    with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
        store.append_message("s", said("x"))
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with DOUBTS._lock, store._clients._lock:
                held.set()
                over.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()

        def in_child() -> None:
            DOUBTS.note(("elsewhere", b"key"), b"12345678")
            assert store.append_message("s", said("x")) == 1

        child = multiprocessing.get_context("fork").Process(target=in_child)
        child.start()
        over.set()
        thread.join()
        child.join(30)
        assert child.exitcode == 0


def test_a_fork_leaves_the_callers_async_client_alone(alone: redis_servers.Server) -> None:
    client = redis.asyncio.Redis(port=alone.port)
    store = RedisSessionStore(client)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.aappend_message("s", said("x", "before")))
    child = multiprocessing.get_context("fork").Process(target=write_both, args=(store, 0))
    child.start()
    for number in range(30):
        loop.run_until_complete(store.aappend_message("s", said("x", f"parent{number}")))
    child.join()
    assert child.exitcode == 0
    assert len(loop.run_until_complete(store.aget_messages("s"))) == 91
    loop.run_until_complete(client.aclose())
    loop.close()
