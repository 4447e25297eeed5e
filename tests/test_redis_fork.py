"""Forks in Redis: what the script copies, and what becomes of one whose answer is lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from given_up import cancelled
from servers import permissions
from servers import redis as redis_servers
from servers.proxy import Proxy

from sessionstore import (
    CorruptMessageError,
    RedisSessionStore,
    SessionExistsError,
    SessionNotFoundError,
    StoreTimeoutError,
)
from sessionstore.testing.concurrency import in_a_loop
from sessionstore.testing.samples import conversation, ids, said, stored

TIMEOUT = 1.0


@pytest.fixture
def prefix() -> str:
    return f"sessionstore:{uuid.uuid4()}:"


@pytest.fixture(params=["may copy", "may not copy", "cluster"])
def store(request: pytest.FixtureRequest, prefix: str) -> Iterator[RedisSessionStore]:
    """One for a user who may copy keys, one for a user who may not, and one whose slots differ."""
    if request.param == "cluster":
        url = request.getfixturevalue("redis_cluster").url
    else:
        server, url = request.getfixturevalue("redis_server"), ""
        commands = [*permissions.ALWAYS, *(["copy"] if request.param == "may copy" else [])]
        url = permissions.permit(server.url, [server], commands)
    with RedisSessionStore(url, key_prefix=prefix, timeout=20.0) as store:
        yield store


@pytest.mark.parametrize("count", [40, 700])
def test_a_fork_near_either_end_and_in_the_middle(store: RedisSessionStore, count: int) -> None:
    log = [said("x", f'"\\\n\0\x7f\u2028é {number}') for number in range(count)]
    store.append_messages("s", log)
    gone = [str(log[place].id) for place in (0, 2, 9, count // 2, count - 8, count - 3, count - 1)]
    store.delete_messages("s", gone)
    log = [message for message in log if message.id not in gone]
    last = len(log) - 1
    for place in (0, 1, 5, last // 4, last // 2, last - 9, last - 1, last):
        at, new = str(log[place].id), f"at {place}"
        assert store.fork("s", new, at=at).message_count == place + 1
        assert store.get_messages(new) == log[: place + 1]
        assert stored(store, new).metadata["forked_from"]["message_id"] == at
        store.update(new, metadata={"a": 1})  # all of its metadata can be read
        assert store.append_messages(new, [*log, said("y", gone[3])]) == last - place + 1
        assert ids(store.get_messages(new, before=at, limit=2)) == ids(log[:place][-2:])
        assert store.delete_messages(new, [at, gone[3]]) == [at, gone[3]]
        assert ids(store.get_messages(new)) == [name for name in ids(log) if name != at]
    assert store.get_messages("s") == log


@pytest.mark.parametrize("damage", ["text", "id"])
def test_a_damaged_message_is_copied_as_it_is(
    redis_server: redis_servers.Server, prefix: str, damage: str
) -> None:
    """Where its own text does not tell its id, its place does."""
    with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
        log = conversation(60)
        store.append_messages("s", log)
        body = "{" if damage == "text" else '{"role":"user","id":"m3"}'
        redis_server.run("LSET", f"{prefix}{{s}}:messages", "-1", body)
        assert store.fork("s", "t").metadata["forked_from"]["message_id"] == "m59"
        assert store.get_messages("t", after="", limit=59) == log[:59]
        assert store.fork("s", "u", at="m58").message_count == 59
        assert store.get_messages("u") == log[:59]


def test_what_is_not_whole_is_not_forked(redis_server: redis_servers.Server, prefix: str) -> None:
    with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
        store.create("s", messages=conversation(40), metadata={"title": "Trip"})
        for key, *damage in (
            ("session", "HSET", ":title", "{"),
            ("positions", "HSET", "m20", "999"),
            ("messages", "RPUSH", "{}"),
        ):
            redis_server.run(damage[0], f"{prefix}{{s}}:{key}", *damage[1:])
            with pytest.raises(CorruptMessageError, match="'s'"):
                store.fork("s", "t", at="m20")
        assert store.get("t") is None
        store.append_messages("new", conversation(2))
        redis_server.run("HSET", f"{prefix}{{s}}:session", "count", "7")
        with pytest.raises(CorruptMessageError, match="'s'"):
            store.fork("new", "s")
        with pytest.raises(SessionExistsError, match="'new'"):
            store.fork("new", "new")


def test_a_fork_has_the_time_to_live_of_its_store(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    """Whatever that of the session is that it is made of: all of its keys live as long."""
    short = partial(RedisSessionStore, redis_server.url, key_prefix=prefix, ttl_seconds=60)
    with short() as expiring, RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
        expiring.append_messages("s", conversation(5))
        expiring.delete_messages("s", ["m2"])
        expiring.fork("s", "short")
        store.fork("s", "for good")
        store.fork("for good", "for good, at", at="m3")
        for name, lives in (("short", True), ("for%20good", False), ("for%20good%2C%20at", False)):
            for key in ("session", "messages", "positions", "gaps"):
                left = redis_server.run("PTTL", f"{prefix}{{{name}}}:{key}")
                assert 0 < left <= 60_000 if lives else left == -1


# -- Lost answers ---------------------------------------------------------------------------------


@pytest.fixture
def proxy(redis_server: redis_servers.Server) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def calm(redis_server: redis_servers.Server, prefix: str) -> Iterator[RedisSessionStore]:
    """A store with a way of its own to the server: another process's, say."""
    with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
        store.append_messages("s", conversation(5))
        store.fork("s", "warm")  # the server must know the scripts
        store.delete("warm")
        yield store


def opened(proxy: Proxy, prefix: str, timeout: float = 20.0) -> RedisSessionStore:
    url = f"redis://127.0.0.1:{proxy.port}"
    return RedisSessionStore(url, key_prefix=prefix, timeout=timeout)


def test_a_fork_whose_answer_was_lost_is_made_once(
    proxy: Proxy, calm: RedisSessionStore, prefix: str
) -> None:
    with opened(proxy, prefix) as store:
        store.delete("warm")
        proxy.drop_replies()
        info = store.fork("s", "t", at="m2", metadata={"a": 1})
        assert (info.message_count, info.version) == (3, 1)
        assert ids(calm.get_messages("t")) == ["m0", "m1", "m2"]
        proxy.drop_replies(then=lambda: calm.append_message("u", said("x", "more")))
        info = store.fork("s", "u")
        assert (info.version, info.metadata["forked_from"]["message_id"]) == (1, "m4")
        assert len(calm.get_messages("u")) == 6
        proxy.drop_replies(then=lambda: calm.delete("s"))
        assert store.fork("s", "v").version == 1
        proxy.drop_replies()
        with pytest.raises(SessionNotFoundError):
            store.fork("s", "w")


def test_a_second_try_makes_no_fork_that_another_deleted(
    proxy: Proxy, calm: RedisSessionStore, prefix: str
) -> None:
    with opened(proxy, prefix) as store:
        store.delete("warm")
        proxy.drop_replies(then=lambda: calm.delete("t"))
        with pytest.raises(StoreTimeoutError, match="can't be known"):
            store.fork("s", "t")
        assert calm.get("t") is None
        assert [info.id for info in calm.list_sessions().sessions] == ["s"]


def test_a_cancelled_fork_that_reaches_the_server_late_does_nothing(
    proxy: Proxy, calm: RedisSessionStore, prefix: str
) -> None:
    async def main(store: RedisSessionStore) -> None:
        await store.adelete("warm")
        proxy.hold()
        await cancelled(store.afork("s", "t"), proxy.held)
        assert await store.aappend_message("t", said("mine", "mine")) == 1
        proxy.let_through()
        assert ids(calm.get_messages("t")) == ["mine"]
        assert len(calm.get_messages("s")) == 5

    in_a_loop(partial(opened, proxy, prefix), main)  # type: ignore[arg-type]


def test_a_write_to_the_session_that_was_given_up_is_settled_before_the_fork(
    proxy: Proxy, calm: RedisSessionStore, prefix: str
) -> None:
    """What is in doubt of the session that is copied, as what is of the new one."""
    with opened(proxy, prefix, TIMEOUT) as store:
        store.delete("warm")
        proxy.hold()
        with pytest.raises(StoreTimeoutError):
            store.append_message("s", said("late", "late"))
        assert store.fork("s", "t").message_count == 5
        proxy.let_through()
        assert len(calm.get_messages("s")) == 5


# -- Cluster --------------------------------------------------------------------------------------


def test_under_cluster_what_is_written_in_between_is_not_in_the_fork(
    redis_cluster: redis_servers.Cluster, prefix: str
) -> None:
    """The session is read as it was at one moment, and the fork is made as a whole, or not."""
    other = RedisSessionStore(redis_cluster.url, key_prefix=prefix, timeout=20.0)
    with other, _Between(redis_cluster.url, key_prefix=prefix, timeout=20.0) as store:
        other.append_messages("s", conversation(4))
        store.between = lambda: other.append_message("s", said("x", "between"))
        assert store.fork("s", "t").message_count == 4
        store.between = lambda: other.create("u")
        with pytest.raises(SessionExistsError):
            store.fork("s", "u")
        assert (len(other.get_messages("s")), other.get_messages("u")) == (5, [])
        assert ids(other.get_messages("t")) == ["m0", "m1", "m2", "m3"]


class _Between(RedisSessionStore):
    between: Any = None

    def run(self, operation: Any) -> Any:
        exchange, ask = self._exchange, self._exchange.ask

        def asked(calls: Any, wait: int = 0) -> Any:
            if calls[0].script.name == b"create" and self.between:
                between, self.between = self.between, None
                between()
            return (yield from ask(calls, wait))

        exchange.ask = asked  # type: ignore[method-assign]
        try:
            return super().run(operation)
        finally:
            del exchange.ask
