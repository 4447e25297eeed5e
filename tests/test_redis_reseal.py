"""`Reseal` in Redis: keys and their times, other bytes that say the same, and lost answers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from given_up import cancelled
from msgspec.structs import replace
from servers import redis as redis_servers
from servers.proxy import Proxy

from sessionstore import RedisSessionStore, SessionMessage
from sessionstore.models import encode_message
from sessionstore.operations import Reseal
from sessionstore.testing.samples import contents, conversation, said

LOG = conversation(4)
SEALED = [replace(message, content=f"sealed {message.id}") for message in LOG]
RESEAL = Reseal("s", LOG, SEALED, {"title": {"a": 1, "b": 2}}, {"title": "sealed"})


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4()}:"


@pytest.fixture
def proxy(redis_server: redis_servers.Server) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def calm(redis_server: redis_servers.Server, prefix: str) -> Iterator[RedisSessionStore]:
    """A store with a way of its own to the server, which knows the script."""
    with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
        store.run(RESEAL)
        store.create("s", messages=LOG, metadata={"title": {"a": 1, "b": 2}}, user_id="u")
        yield store


@pytest.fixture
def store(proxy: Proxy, calm: RedisSessionStore, prefix: str) -> Iterator[RedisSessionStore]:
    calm.ping()
    url = f"redis://127.0.0.1:{proxy.port}"
    with RedisSessionStore(url, key_prefix=prefix, timeout=5) as store:
        store.delete("warm")  # the first write asks what it may do
        yield store


def said_now(store: RedisSessionStore) -> list[Any]:
    return contents(store.get_messages("s"))


def test_resealing_leaves_every_key_the_time_it_has(
    redis_server: redis_servers.Server, prefix: str
) -> None:
    def places() -> list[Any]:
        indexes = (f"{{{name}}}" for name in (":all", ":user:u", ":agent:default"))
        return [
            redis_server.run("ZRANGE", prefix + index, 0, -1, "WITHSCORES") for index in indexes
        ]

    with RedisSessionStore(redis_server.url, key_prefix=prefix, ttl_seconds=1000) as store:
        store.create("s", messages=LOG, metadata={"title": {"a": 1, "b": 2}}, user_id="u")
        with redis_server.client() as client:
            own = set(client.scan_iter(match=f"{prefix}{{s}}*", count=10_000))
        for key in own:
            redis_server.run("PEXPIRE", key, 500_000)
        before, there = places(), store.get("s")
        assert store.run(RESEAL) == 5
        assert {redis_server.run("PTTL", key) > 400_000 for key in own} == {True}
        assert {redis_server.run("PTTL", key) <= 500_000 for key in own} == {True}
        assert places() == before
        assert there is not None
        assert store.get("s") == replace(there, messages=SEALED, metadata={"title": "sealed"})


def test_what_says_the_same_in_other_bytes_is_swapped(
    redis_server: redis_servers.Server,
    prefix: str,
    proxy: Proxy,
    calm: RedisSessionStore,
    store: RedisSessionStore,
) -> None:
    """Messages of another writer, say; one that can't be read, or says more, is left alone."""
    other = encode_message(LOG[0]).replace(b'":"', b'" : "')
    more = encode_message(LOG[1]).replace(b"text 1", b"text 11")
    for place, body in enumerate((other, more, b"\xff{")):
        redis_server.run("LSET", f"{prefix}{{s}}:messages", place, body)
    redis_server.run("HSET", f"{prefix}{{s}}:session", ":title", '{"b": 2, "a": 1}')
    before = proxy.round_trips()
    assert store.run(RESEAL) == 3
    assert proxy.round_trips() - before == 2
    calm.delete_messages("s", ["m2"])
    there = calm.get("s")
    assert there is not None
    assert contents(there.messages) == ["sealed m0", "text 11", "sealed m3"]
    assert there.metadata == {"title": "sealed"}
    before = proxy.round_trips()
    assert store.run(Reseal("s", LOG[3:], SEALED[3:], *[{"title": "sealed"}] * 2)) == 1
    assert proxy.round_trips() - before == 1  # what is sealed by now is no reason to look again


def test_a_reseal_whose_answer_was_lost_is_done_once(
    store: RedisSessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    """It gives what it has swapped, but for what others wrote meanwhile; and that stays."""
    proxy.drop_replies()
    assert store.run(RESEAL) == 5
    assert said_now(calm) == contents(SEALED)
    proxy.drop_replies(then=lambda: calm.replace_message("s", said("edited", "m1")))
    assert store.run(Reseal("s", SEALED, LOG)) == 3
    assert said_now(calm) == ["text 0", "edited", "text 2", "text 3"]
    proxy.drop_replies(then=lambda: (calm.delete("s"), calm.append_message("s", said("x", "m0"))))
    assert store.run(Reseal("s", LOG, SEALED)) == 0
    assert said_now(calm) == ["x"]


def test_the_write_before_a_reseal_is_still_done_once(
    store: RedisSessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    """A session is at the same version after it, and what came before is no older for that."""
    more = SessionMessage("user", "more", id="more")
    proxy.drop_replies(then=lambda: calm.run(RESEAL))
    assert store.append_message("s", more) == 1
    proxy.drop_replies(then=lambda: calm.run(Reseal("s", SEALED, LOG)))
    assert store.delete_messages("s", ["more"]) == ["more"]
    assert said_now(calm) == contents(LOG)


def test_a_cancelled_reseal_that_reaches_the_server_late_does_nothing(
    store: RedisSessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    async def main() -> None:
        await store.aappend_message("warm", said("x"))
        proxy.hold()
        await cancelled(store.arun(RESEAL), proxy.held)
        proxy.let_through()
        assert said_now(calm) == contents(LOG)
        await store.aclose()

    asyncio.run(main())
