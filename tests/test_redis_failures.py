"""What happens when Redis fails, each time for real: what is raised, how soon, and what is kept."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import pytest
import redis
import redis.asyncio
from frames import shows
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry
from servers import redis as redis_servers
from servers.process import wait_until
from servers.proxy import Proxy
from stopwatch import Stopwatch

from sessionstore import (
    RedisSessionStore,
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStore,
    SessionStoreError,
    StoreConnectionError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.redis.keys import session_keys
from sessionstore.testing import Stores
from sessionstore.testing.samples import conversation, ids, said

TIMEOUT = 1.0
SECRET = "pass:w@rd"  # noqa: S105


@pytest.fixture(scope="module")
def server() -> Iterator[redis_servers.Server]:
    """A server of this file's own, to be tormented."""
    with redis_servers.single(maxclients=30) as server:
        yield server


@pytest.fixture
def proxy(server: redis_servers.Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def roomy_proxy(redis_server: redis_servers.Server) -> Iterator[Proxy]:
    """One to a server that takes as many clients as come."""
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def calm(server: redis_servers.Server) -> Iterator[RedisSessionStore]:
    """A store with a way of its own to the server, which starts empty."""
    server.run("FLUSHALL")
    with RedisSessionStore(server.url) as store:
        for write in (store.delete, store.create, store.get, store.get_messages):
            write("warm")  # a lost answer is to be that of the operation, not "no such script"
        store.append_messages("warm", conversation(2))
        store.replace_message("warm", said("x", "m1"))
        store.update("warm")
        store.delete_messages("warm", ["m0"])
        store.list_sessions()
        store.delete("warm")
        yield store


@pytest.fixture(params=["sync", "async"])
def open_url(request: pytest.FixtureRequest) -> Iterator[Callable[..., SessionStore]]:
    with Stores(RedisSessionStore, request.param) as stores:
        yield lambda url, **options: stores.open(
            redis=url, **{"timeout": redis_servers.PATIENCE, **options}
        )


def through(
    proxy: Proxy, calm: RedisSessionStore, open_url: Callable[..., SessionStore]
) -> SessionStore:
    """Open a store that reaches the server by the proxy, and has a session of two messages."""
    calm.append_messages("s", conversation(2))
    store = open_url(f"redis://127.0.0.1:{proxy.port}")
    store.delete("warm")  # the first write asks what it may do
    return store


@pytest.fixture
def store(
    open_url: Callable[..., SessionStore], proxy: Proxy, calm: RedisSessionStore
) -> SessionStore:
    return through(proxy, calm, open_url)


@pytest.fixture
def hasty(
    open_url: Callable[..., SessionStore], proxy: Proxy, calm: RedisSessionStore
) -> SessionStore:
    """A store for those who wait until its time is up."""
    return through(proxy, calm, partial(open_url, timeout=TIMEOUT))


def require_unavailable(call: Callable[[], Any], within: float = 2 * TIMEOUT) -> str:
    with Stopwatch() as watch, pytest.raises(StoreUnavailableError) as caught:
        call()
    assert watch.seconds < within + 0.5
    assert caught.value.__cause__ is not None
    return str(caught.value)


# -- The network -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fail", [Proxy.refuse, Proxy.reset, Proxy.stall])
def test_every_call_is_unavailable_in_a_broken_network(
    hasty: SessionStore, proxy: Proxy, fail: Callable[[Proxy], None]
) -> None:
    fail(proxy)
    for call in (
        hasty.ping,
        lambda: hasty.get("s"),
        lambda: hasty.append_message("s", said("x")),
        hasty.list_sessions,
    ):
        require_unavailable(call)
    proxy.carry()
    assert ids(hasty.get_messages("s")) == ["m0", "m1"]
    assert hasty.append_message("s", said("x")) == 1


@pytest.mark.soak
def test_a_write_to_a_server_that_hangs_is_there_once_when_sent_again(
    hasty: SessionStore, server: redis_servers.Server
) -> None:
    server.pause()
    try:
        require_unavailable(lambda: hasty.append_message("s", said("x", "m2")))
        require_unavailable(hasty.ping)
    finally:
        server.resume()
    wait_until(server.is_ready, "server is back")
    # What was sent may have been done or not: sent again, it is there once.
    hasty.append_message("s", said("x", "m2"))
    assert ids(hasty.get_messages("s")) == ["m0", "m1", "m2"]


@pytest.mark.soak
def test_many_waiting_calls_end_within_the_timeout_too(roomy_proxy: Proxy) -> None:
    """All connections of a loop may be waiting: those behind them don't wait in line for ever."""

    timeout = 2.0  # in which a busy machine can open 400 connections

    async def main() -> None:
        url = f"redis://127.0.0.1:{roomy_proxy.port}"
        async with RedisSessionStore(url, key_prefix="crowd:", timeout=timeout) as store:
            await store.aping()
            roomy_proxy.stall()
            start = time.monotonic()
            calls = (store.aget("s") for _ in range(400))
            replies = await asyncio.gather(*calls, return_exceptions=True)
            # Those without a connection are not told that it is busy: nobody was answered.
            assert {type(reply) for reply in replies} <= {StoreTimeoutError, StoreConnectionError}
            assert time.monotonic() - start < 2 * timeout
            roomy_proxy.carry()
            replies = [StoreUnavailableError()]
            while time.monotonic() - start < 60 and replies != [None] * 400:
                calls = (store.aget("s") for _ in range(400))
                replies = await asyncio.gather(*calls, return_exceptions=True)
            assert replies == [None] * 400

    asyncio.run(main())


def test_a_closed_port_is_an_outage_in_every_topology(
    open_url: Callable[..., SessionStore],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    require_unavailable(open_url(f"redis://127.0.0.1:{port}").ping)
    require_unavailable(open_url("unix:///nowhere/redis.sock").ping)
    require_unavailable(open_url(f"redis+cluster://127.0.0.1:{port}").ping)
    require_unavailable(open_url(f"redis+sentinel://127.0.0.1:{port}/sessions/0").ping)


def test_a_host_that_is_not_resolved_is_an_outage(open_url: Callable[..., SessionStore]) -> None:
    require_unavailable(open_url("redis://no-such-host.invalid").ping, within=10)


# -- Lost answers ----------------------------------------------------------------------------------


def test_an_append_whose_answer_was_lost_is_done_once(store: SessionStore, proxy: Proxy) -> None:
    proxy.drop_replies()
    assert store.append_messages("s", conversation(5)) == 3
    assert store.append_messages("s", conversation(5)) == 0
    session = store.get("s")
    assert session is not None
    assert (ids(session.messages), session.version) == ([f"m{n}" for n in range(5)], 2)


def test_an_append_with_a_version_whose_answer_was_lost_is_done_once(
    store: SessionStore, proxy: Proxy
) -> None:
    proxy.drop_replies()
    assert store.append_messages("s", conversation(5), expected_version=1) == 3
    with pytest.raises(SessionConflictError):
        store.append_message("s", said("x"), expected_version=1)


def test_other_writes_whose_answers_were_lost_are_done_once(
    store: SessionStore, proxy: Proxy
) -> None:
    proxy.drop_replies()
    assert store.create("new", messages=conversation(2), metadata={"a": 1}).version == 1
    proxy.drop_replies()
    updated = store.update("new", messages=conversation(3), metadata={"b": 2}, expected_version=1)
    assert (updated.version, updated.metadata, updated.message_count) == (2, {"a": 1, "b": 2}, 3)
    proxy.drop_replies()
    store.replace_message("new", said("again", "m1"))
    session = store.get("new")
    assert session is not None
    assert session.version == 3


def test_a_delete_of_messages_whose_answer_was_lost_is_done_once(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    calm.append_messages("s", conversation(40))
    proxy.drop_replies()
    assert store.delete_messages("s", ["m1", "m0", "none", "m5"], expected_version=2) == [
        "m0",
        "m1",
        "m5",
    ]

    def others() -> None:
        calm.append_messages("s", conversation(2))
        for number in range(10, 25):
            assert calm.delete_messages("s", [f"m{number}"])

    proxy.drop_replies(then=others)
    assert store.delete_messages("s", ["m8", "none", "m7"]) == ["m7", "m8"]
    assert ids(calm.get_messages("s"))[-3:] == ["m39", "m0", "m1"]
    # What another deleted in between is not told twice, nor is it said that it was not there.
    proxy.drop_replies(then=lambda: [calm.delete_messages("s", [f"m{n}"]) for n in range(25, 39)])
    assert store.delete_messages("s", ["m2", "m39"]) == ["m2", "m39"]
    proxy.drop_replies(then=lambda: calm.delete("s"))
    assert store.delete_messages("s", ["m3"]) == ["m3"]
    calm.append_messages("s", conversation(5))
    proxy.drop_replies(then=lambda: (calm.delete("s"), calm.create("s", user_id="other")))
    assert store.delete_messages("s", ["m3", "m1"]) == ["m1", "m3"]
    session = calm.get("s")
    assert session is not None
    assert (session.version, session.user_id) == (1, "other")


def test_a_rewind_whose_answer_was_lost_is_done_once(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    calm.append_messages("s", conversation(40))
    calm.rewind("s", to="m38")  # the server must know the script
    proxy.drop_replies()
    assert store.rewind("s", to="m36", expected_version=3) == ["m37", "m38"]
    proxy.drop_replies(then=lambda: calm.append_messages("s", conversation(40)))
    assert store.rewind("s", to="m34") == ["m35", "m36"]
    assert ids(calm.get_messages("s", limit=5)) == ["m35", "m36", "m37", "m38", "m39"]
    # What another deleted in between is not told twice, and a message that is gone by then is none
    # that was not there.
    proxy.drop_replies(then=lambda: calm.rewind("s", to="m20"))
    assert store.rewind("s", to="m38") == ["m39"]
    proxy.drop_replies(then=lambda: calm.delete("s"))
    assert store.rewind("s", to=None) == [f"m{number}" for number in range(21)]
    assert calm.get("s") is None
    calm.append_messages("s", conversation(5))
    proxy.drop_replies(then=lambda: (calm.delete("s"), calm.create("s", user_id="other")))
    assert store.rewind("s", to="m2") == ["m3", "m4"]
    session = calm.get("s")
    assert session is not None
    assert (session.version, session.user_id) == (1, "other")


def test_a_lost_answer_that_cannot_be_known_any_more_is_an_error(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    calm.append_messages("s", conversation(40))
    proxy.drop_replies(then=lambda: [calm.delete_messages("s", [f"m{n}"]) for n in range(10, 26)])
    assert "can't be known" in require_unavailable(lambda: store.delete_messages("s", ["m1"]))
    proxy.drop_replies(then=lambda: calm.append_messages("s", [said("x", "m1")]))
    assert store.delete_messages("s", ["m2"]) == ["m2"]
    assert "m1" in ids(calm.get_messages("s"))


def test_a_read_whose_answer_was_lost_is_tried_again(store: SessionStore, proxy: Proxy) -> None:
    proxy.drop_replies()
    assert ids(store.get_messages("s")) == ["m0", "m1"]
    proxy.drop_replies()
    assert [info.id for info in store.list_sessions().sessions] == ["s"]


def test_a_delete_whose_answer_was_lost_is_done_once(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    proxy.drop_replies()
    assert store.delete("s") is True
    assert store.delete("s") is False
    calm.create("s")
    proxy.drop_replies(then=lambda: calm.create("s", messages=conversation(1)))
    assert store.delete("s") is True
    assert ids(calm.get_messages("s")) == ["m0"]


def crowd(calm: RedisSessionStore, size: int) -> None:
    for number in range(size):
        calm.append_message("s", said("between", f"b{number}"))


def test_a_write_is_done_once_though_many_others_write_between_two_tries(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    proxy.drop_replies(then=lambda: crowd(calm, 60))
    assert store.append_message("s", said("x", "m2"), expected_version=1) == 1
    assert ids(calm.get_messages("s"))[2:4] == ["m2", "b0"]
    proxy.drop_replies(then=lambda: (crowd(calm, 50), calm.replace_message("s", said("b", "m2"))))
    store.replace_message("s", said("a", "m2"))
    assert calm.get_messages("s")[2].content == "b"


@pytest.mark.parametrize("size", [150, 200])
def test_an_unknown_outcome_is_not_reported_as_known(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore, size: int
) -> None:
    def many() -> None:
        for number in range(size):
            calm.update("s", metadata={"n": number})

    proxy.drop_replies(then=many)
    message = require_unavailable(lambda: store.replace_message("s", said("ours", "m1")))
    assert "can't be known" in message
    assert calm.get_messages("s")[1].content == "ours"


@pytest.mark.soak
@pytest.mark.parametrize("busy", [False, True])
def test_a_write_on_a_connection_that_was_closed_long_ago_is_done(
    hasty: SessionStore, server: redis_servers.Server, calm: RedisSessionStore, busy: bool
) -> None:
    """What surely was not done before is done, also in a session with many writes."""
    if busy:
        crowd(calm, 150)
        over = time.monotonic()
        wait_until(lambda: time.monotonic() - over > 2 * TIMEOUT, "the crowd is longer ago")
    for write in (
        lambda: hasty.create("new", messages=conversation(2)).version,
        lambda: hasty.append_message("made", said("x", "m0")),
        lambda: hasty.append_message("s", said("x", "m2")),
        lambda: hasty.update("new", metadata={"a": 1}).version - 1,
    ):
        server.run("CLIENT", "KILL", "TYPE", "normal")
        assert write() == 1
    server.run("CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(SessionExistsError):
        hasty.create("new")
    server.run("CLIENT", "KILL", "TYPE", "normal")
    assert hasty.delete("nothing") is False


def test_writes_with_others_between_are_done_once(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    proxy.drop_replies(then=lambda: calm.append_message("s", said("x", "theirs")))
    updated = store.update("s", messages=conversation(2), expected_version=1)
    assert updated.version == 2
    assert ids(calm.get_messages("s")) == ["m0", "m1", "theirs"]
    proxy.drop_replies(then=lambda: calm.replace_message("s", said("theirs", "m1")))
    store.replace_message("s", said("ours", "m1"))
    assert calm.get_messages("s")[1].content == "theirs"
    proxy.drop_replies(then=lambda: calm.append_messages("s", conversation(5)[4:]))
    assert store.append_messages("s", conversation(4), expected_version=5) == 2
    proxy.drop_replies(then=lambda: calm.append_message("new", said("x")))
    assert store.create("new").version == 1


def test_a_second_try_makes_no_session_that_another_deleted(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    log = conversation(2)
    proxy.drop_replies(then=lambda: calm.delete("made"))
    made = store.create("made", agent_id="a", user_id="u", messages=log, metadata={"k": [1]})
    assert (made.agent_id, made.user_id, made.metadata, made.version) == ("a", "u", {"k": [1]}, 1)
    assert ids(made.messages) == ["m0", "m1"]
    proxy.drop_replies(then=lambda: calm.delete("appended"))
    assert store.append_messages("appended", log) == 2
    proxy.drop_replies(then=lambda: calm.delete("s"))
    with pytest.raises(SessionNotFoundError):
        store.update("s", metadata={"a": 1})
    assert calm.list_sessions().sessions == []


def test_a_second_try_leaves_a_session_that_was_made_again_alone(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    log = conversation(2)

    def again() -> None:
        calm.delete("s")
        calm.create("s", user_id="other", messages=conversation(1))

    def lost(write: Callable[[], Any]) -> Any:
        calm.delete("s")
        calm.create("s", messages=log)
        proxy.drop_replies(then=again)
        return write()

    calm.delete("s")
    proxy.drop_replies(then=again)
    assert store.create("s", user_id="u", messages=log).user_id == "u"
    assert lost(lambda: store.append_message("s", said("x", "m2"), user_id="u")) == 1
    lost(lambda: store.replace_message("s", said("y", "m0"), user_id="u"))
    with pytest.raises(SessionNotFoundError):
        lost(lambda: store.update("s", messages=log, metadata={"a": 1}))
    session = calm.get("s")
    assert session is not None
    assert (session.version, session.user_id, session.metadata) == (1, "other", {})
    assert [(m.id, m.content) for m in session.messages] == [("m0", conversation(1)[0].content)]


def retrying_client(port: int) -> Any:
    """A client of a caller's, which sends again what got no answer, and tells nobody."""
    retry = Retry(NoBackoff(), 3)
    return redis.Redis(port=port, retry=retry, retry_on_error=[redis.ConnectionError])


def test_a_client_with_retries_of_its_own_does_each_write_once(
    proxy: Proxy, calm: RedisSessionStore
) -> None:
    log = conversation(2)
    with retrying_client(proxy.port) as client, RedisSessionStore(client) as store:
        store.delete("warm")
        require_each_done_once(store, proxy, calm)
        proxy.drop_replies(then=lambda: calm.delete("gone"))
        assert store.create("gone", messages=log).version == 1
        assert calm.get("gone") is None


@pytest.mark.usefixtures("calm")
def test_an_async_client_with_retries_of_its_own_does_each_write_once(proxy: Proxy) -> None:
    async def main() -> None:
        retry = AsyncRetry(NoBackoff(), 3)
        async with (
            redis.asyncio.Redis(
                port=proxy.port, retry=retry, retry_on_error=[redis.ConnectionError]
            ) as client,
            RedisSessionStore(client) as store,
        ):
            await store.adelete("warm")
            proxy.drop_replies()
            assert (await store.acreate("s", messages=conversation(2))).version == 1
            proxy.drop_replies()
            assert await store.aappend_messages("s", conversation(3)) == 1
            proxy.drop_replies()
            assert (await store.aupdate("s", metadata={"a": 1}, expected_version=2)).version == 3
            proxy.drop_replies()
            assert await store.adelete("s") is True

    asyncio.run(main())


def require_each_done_once(store: SessionStore, proxy: Proxy, calm: RedisSessionStore) -> None:
    proxy.drop_replies()
    assert store.create("s", messages=conversation(2)).version == 1
    proxy.drop_replies()
    assert store.append_messages("s", conversation(3), expected_version=1) == 1
    proxy.drop_replies()
    assert store.update("s", metadata={"a": 1}, expected_version=2).version == 3
    proxy.drop_replies()
    assert store.delete("s") is True
    assert calm.get("s") is None


def test_a_cluster_client_with_retries_of_its_own_does_each_write_once(
    redis_cluster: redis_servers.Cluster,
) -> None:
    with ExitStack() as stack:
        proxies = {one.port: stack.enter_context(Proxy(one.port)) for one in redis_cluster.servers}
        ports = {port: proxy.port for port, proxy in proxies.items()}
        client = redis_cluster.client(address_remap=lambda at: (at[0], ports.get(at[1], at[1])))
        calm = stack.enter_context(RedisSessionStore(redis_cluster.url))
        store = stack.enter_context(RedisSessionStore(stack.enter_context(client)))
        calm.delete("s")
        for write in (store.create, store.update, store.delete):
            write("s")  # a lost answer is to be that of the operation, not "no such script"
        store.append_message("s", said("x"))
        store.delete("s")
        at = client.get_node_from_key(session_keys(calm._exchange.layout.prefix, b"s").head).port
        require_each_done_once(store, next(p for p in proxies.values() if p.port == at), calm)


def test_an_append_with_another_between_is_done_once(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    proxy.drop_replies(then=lambda: calm.append_message("s", said("x", "between")))
    store.append_message("s", said("x", "m2"))
    assert ids(calm.get_messages("s")) == ["m0", "m1", "m2", "between"]


def test_two_lost_answers_are_an_error(
    store: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    proxy.drop_replies(2)
    require_unavailable(lambda: store.append_message("s", said("x", "m2")))
    assert store.append_message("s", said("x", "m2")) == 0
    assert ids(calm.get_messages("s")) == ["m0", "m1", "m2"]


# -- What the server says --------------------------------------------------------------------------


def test_a_server_out_of_memory_refuses_writes_and_changes_nothing(
    store: SessionStore, server: redis_servers.Server
) -> None:
    before = store.get("s")
    server.run("CONFIG", "SET", "maxmemory", "100kb")
    try:
        for write in (
            lambda: store.append_messages("s", conversation(5)),
            lambda: store.create("new", messages=conversation(5)),
            lambda: store.replace_message("s", said("x", "m1")),
        ):
            assert "memory" in require_unavailable(write)
        assert store.get("s") == before
        assert store.get("new") is None
        assert store.delete("s") is True
    finally:
        server.run("CONFIG", "SET", "maxmemory", "0")


def test_a_server_that_is_busy_with_a_script_is_unavailable(
    store: SessionStore, server: redis_servers.Server
) -> None:
    server.run("CONFIG", "SET", "lua-time-limit", 10)

    def hang() -> None:
        with pytest.raises(redis_servers.redis.ResponseError):
            server.run("EVAL", "while true do end", 0, socket_timeout=30)

    thread = threading.Thread(target=hang)
    thread.start()
    try:
        wait_until(lambda: not server.is_ready(), "server is busy")
        assert "busy" in require_unavailable(lambda: store.append_message("s", said("x")))
    finally:
        wait_until(lambda: server.run("SCRIPT", "KILL"), "script is killed")
        thread.join()
    assert store.append_message("s", said("x")) == 1


def test_a_server_with_too_many_clients_is_unavailable(
    open_url: Callable[..., SessionStore],
) -> None:
    with redis_servers.single(maxclients=5) as server:
        store = open_url(server.url)
        with ExitStack() as crowd:
            for _ in range(5):
                # A place that is free only soon, as its client is leaving, is waited for.
                wait_until(lambda: take_a_place(server, crowd), "a client is let in")
            require_unavailable(store.ping)
        wait_until(server.is_ready, "crowd is gone")
        store.ping()


def take_a_place(server: redis_servers.Server, crowd: ExitStack) -> bool:
    """Become one more client for good, unless the server has too many of them."""
    one = crowd.enter_context(socket.create_connection(("127.0.0.1", server.port), 30))
    one.sendall(b"PING\r\n")
    with suppress(ConnectionError):
        return one.recv(5) == b"+PONG"
    return False


def test_a_replica_cannot_be_written_to(open_url: Callable[..., SessionStore]) -> None:
    with redis_servers.single() as server:
        store = open_url(server.url)
        store.append_messages("s", conversation(2))
        server.run("REPLICAOF", "127.0.0.1", 1)
        assert "replica" in require_unavailable(lambda: store.append_message("s", said("x")))
        assert ids(store.get_messages("s")) == ["m0", "m1"]
        server.run("CONFIG", "SET", "replica-serve-stale-data", "no")
        require_unavailable(lambda: store.get_messages("s"))  # MASTERDOWN
        server.run("REPLICAOF", "NO", "ONE")
        assert store.append_message("s", said("x")) == 1


class _TakenByOthers(list[Any]):
    """Connections of which another thread takes the last in the very moment."""

    def pop(self, *_: Any) -> Any:
        self.clear()
        return super().pop()


def test_idle_connections_may_be_released_by_several_threads_at_once(
    redis_server: redis_servers.Server,
) -> None:
    with RedisSessionStore(redis_server.url) as store:
        store.ping()
        if (direct := store._clients._direct) is not None:  # redis-py 5 has none
            direct._idle = _TakenByOthers(direct._idle)
            direct.let_go()
        store.ping()


def test_the_reply_to_an_interrupted_call_is_given_to_no_other_call(
    redis_server: redis_servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with RedisSessionStore(redis_server.url, key_prefix="interrupted:") as store:
        store.append_message("mine", said("mine"))
        store.append_message("yours", said("yours"))
        with monkeypatch.context() as patch:
            patch.setattr(redis.connection.Connection, "read_response", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.get_messages("mine")
        for _ in range(3):
            assert [message.content for message in store.get_messages("yours")] == ["yours"]


def test_a_server_with_too_few_replicas_is_unavailable(
    open_url: Callable[..., SessionStore],
) -> None:
    with redis_servers.single(min_replicas_to_write=1) as server:
        store = open_url(server.url)
        require_unavailable(lambda: store.append_messages("s", conversation(2)))
        assert store.get("s") is None


@pytest.mark.soak
def test_a_server_that_loads_its_data_is_unavailable(open_url: Callable[..., SessionStore]) -> None:
    with redis_servers.single(key_load_delay=10_000, rdbcompression="no") as server:
        # While it loads, a server looks at its clients after every two megabytes only.
        store = open_url(server.url)
        for number in range(40):
            store.append_message(str(number), said("x" * 2**20))
        server.run("SAVE")
        server.kill()
        server.start_loading()
        assert "loading" in require_unavailable(lambda: store.append_message("0", said("x")))
        require_unavailable(store.ping)
        wait_until(server.is_ready, "server has loaded")
        assert len(store.list_sessions().sessions) == 40


def test_a_cluster_with_a_missing_part_is_unavailable(
    open_url: Callable[..., SessionStore],
) -> None:
    with redis_servers.single(cluster_enabled="yes") as server:
        whole = open_url(server.url)
        assert "down" in require_unavailable(lambda: whole.append_message("s", said("x")))
        require_unavailable(open_url(f"redis+cluster://127.0.0.1:{server.port}").ping)
        server.run("CLUSTER", "ADDSLOTS", *range(redis_servers.SLOTS))
        wait_until(lambda: b"state:ok" in server.run("CLUSTER", "INFO"), "cluster is up")
        assert whole.append_message("s", said("x"), user_id="u") == 1
        apart = open_url(f"redis+cluster://127.0.0.1:{server.port}")
        assert apart.append_message("s", said("x"), user_id="u") == 1
        assert [info.id for info in whole.list_sessions(user_id="u").sessions] == ["s"]


@pytest.mark.soak
def test_writes_follow_a_slot_that_moves_between_nodes(
    open_url: Callable[..., SessionStore],
) -> None:
    with redis_servers.cluster() as cluster:
        store = open_url(cluster.url)
        store.append_messages("s", conversation(2))
        of, own = slot("s"), slot("s") * 3 // redis_servers.SLOTS
        source, target = cluster.masters[own], cluster.masters[own - 1]
        old, new = (one.run("CLUSTER", "MYID") for one in (source, target))
        target.run("CLUSTER", "SETSLOT", of, "IMPORTING", old)
        source.run("CLUSTER", "SETSLOT", of, "MIGRATING", new)
        for key in source.run("CLUSTER", "GETKEYSINSLOT", of, 10):
            require_unavailable(lambda: store.append_message("s", said("x", "mine")), within=20)
            source.run("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        for server in (target, source, *cluster.masters):
            server.run("CLUSTER", "SETSLOT", of, "NODE", new)
        assert store.append_message("s", said("x", "mine")) == 1
        assert ids(store.get_messages("s")) == ["m0", "m1", "mine"]


def test_a_single_servers_url_for_a_cluster_is_refused_with_a_hint(
    open_url: Callable[..., SessionStore], redis_cluster: redis_servers.Cluster
) -> None:
    store = open_url(redis_cluster.masters[0].url)
    elsewhere = next(str(n) for n in range(100) if slot(str(n)) >= redis_servers.SLOTS // 2)
    with pytest.raises(SessionStoreError, match=r"redis\+cluster"):
        store.get(elsewhere)


def slot(session_id: str) -> int:
    return int(key_slot(session_id.encode()))


def test_a_clusters_url_for_a_single_server_is_refused_with_a_hint(
    open_url: Callable[..., SessionStore], server: redis_servers.Server
) -> None:
    with pytest.raises(SessionStoreError, match="no Cluster"):
        open_url(f"redis+cluster://127.0.0.1:{server.port}").ping()


def test_a_write_that_too_few_replicas_confirm_is_an_error(
    open_url: Callable[..., SessionStore], server: redis_servers.Server, calm: RedisSessionStore
) -> None:
    store = open_url(server.url, wait_replicas=1, timeout=TIMEOUT)
    with pytest.raises(StoreUnavailableError, match="only 0 of 1 replicas"):
        store.append_messages("s", conversation(2))
    assert ids(calm.get_messages("s")) == ["m0", "m1"]
    with pytest.raises(StoreUnavailableError, match="only 0 of 1 replicas"):
        store.append_messages("s", conversation(2))
    assert ids(store.get_messages("s")) == ["m0", "m1"]
    with pytest.raises(SessionConflictError):
        store.append_message("s", said("x"), expected_version=7)


# -- Refused ---------------------------------------------------------------------------------------


def require_refused(call: Callable[[], Any], match: str) -> None:
    with pytest.raises(SessionStoreError, match=match) as caught:
        call()
    assert type(caught.value) is SessionStoreError
    for secret in (SECRET, "pass%3Aw%40rd"):
        assert secret not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("topology", ["redis", "redis+cluster"])
def test_a_wrong_password_is_refused_and_not_shown(
    open_url: Callable[..., SessionStore], topology: str
) -> None:
    with redis_servers.single(requirepass="right") as server:
        wrong = f"{topology}://:pass%3Aw%40rd@127.0.0.1:{server.port}"
        store = open_url(wrong)
        require_refused(store.ping, "password")
        with pytest.raises(SessionStoreError) as caught:
            store.append_message("s", said("x"))
        assert shows(caught.value, SECRET, "pass%3Aw%40rd") == []
        assert "pass" not in str(RedisSessionStore(wrong))
        require_refused(open_url(f"{topology}://127.0.0.1:{server.port}").ping, "password")
        open_url(f"redis://:right@127.0.0.1:{server.port}").ping()


def test_a_missing_permission_is_an_error_that_says_so(
    open_url: Callable[..., SessionStore],
) -> None:
    with redis_servers.single() as server:
        port = server.port
        user = ("ACL", "SETUSER", "reader", "on", f">{SECRET}")
        server.run(*user, "~sessionstore:*", "+@read", "+@scripting", "+@connection", "-@write")
        server.run("ACL", "SETUSER", "elsewhere", "on", f">{SECRET}", "~other:*", "+@all")
        server.run("ACL", "SETUSER", "mute", "on", f">{SECRET}", "~*", "+@connection")
        for name in ("reader", "elsewhere", "mute"):
            store = open_url(f"redis://{name}:pass%3Aw%40rd@127.0.0.1:{port}")
            require_refused(lambda: store.append_message("s", said("x")), "permit")  # noqa: B023
        with RedisSessionStore(server.url) as all_may:
            assert all_may.get("s") is None


def test_a_database_number_out_of_range_is_refused(
    open_url: Callable[..., SessionStore], server: redis_servers.Server
) -> None:
    require_refused(open_url(f"{server.url}/99").ping, "database")


def test_a_renamed_command_is_an_error_that_shows_no_secret(
    open_url: Callable[..., SessionStore],
) -> None:
    with redis_servers.single(rename_command='EVALSHA ""') as server:
        store = open_url(server.url)
        require_refused(lambda: store.append_message("s", said(SECRET)), "refuses")


def test_a_message_too_large_for_the_server_is_an_error_and_leaves_nothing(
    open_url: Callable[..., SessionStore],
) -> None:
    with redis_servers.single(proto_max_bulk_len="1mb") as server:
        store = open_url(server.url)
        with pytest.raises(SessionStoreError):
            store.append_message("s", said("x" * 2 * 2**20))
        assert store.get("s") is None


def test_a_closed_store_refuses_every_call(
    open_url: Callable[..., SessionStore], server: redis_servers.Server
) -> None:
    store = open_url(server.url)
    store.ping()
    store.close()
    store.close()
    require_refused(store.ping, "closed")
