"""Leases in Redis: one key more, the server's clock, lost answers, and late ones."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from given_up import cancelled
from redis_versions import VERSIONS
from servers import redis as redis_servers
from servers.permissions import permitted
from servers.proxy import Proxy

from sessionstore import (
    RedisSessionStore,
    SessionAccessError,
    SessionLeasedError,
    SessionStore,
    StoreTimeoutError,
)
from sessionstore.operations import (
    AcquireLease,
    Append,
    Fence,
    GetMessages,
    Operation,
    ReleaseLease,
    RenewLease,
    Update,
)
from sessionstore.testing import Stores
from sessionstore.testing.samples import conversation, ids, said

TIMEOUT = 1.0
HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> redis_servers.Server:
    return request.getfixturevalue(request.param)


@pytest.fixture
def prefix() -> str:
    return f"sessionstore:{uuid.uuid4()}:"


@pytest.fixture
def client(server: redis_servers.Server) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def calm(server: redis_servers.Server, prefix: str) -> Iterator[RedisSessionStore]:
    """A store with a way of its own to the server, which knows the scripts."""
    with RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=1000) as store:
        store.setup()
        store.append_messages("s", conversation(3))
        token = store.run(AcquireLease("warm", HOUR))
        for count in (2, 3):
            store.run(turn(token, "warm")[:count])
        store.run([Fence("warm", token), GetMessages("warm")])
        yield store


def turn(token: int, name: str = "s") -> list[Operation[Any]]:
    return [Fence(name, token), Append(name, [said("x", "x")]), Update(name, metadata={"n": 1})]


def keys(client: redis.Redis, prefix: str) -> dict[str, float]:
    """Give the keys of the session, and for how many seconds each is kept."""
    tag = f"{prefix}{{s}}:"
    found = [key.decode() for key in client.scan_iter(f"{tag}*", count=10_000)]
    return {key.removeprefix(tag): client.pttl(key) / 1000 for key in found}


# -- The key ---------------------------------------------------------------------------------------


def test_a_lease_is_one_key_that_outlives_the_session(
    calm: RedisSessionStore, client: redis.Redis, prefix: str
) -> None:
    before = keys(client, prefix)
    with calm.lease("s", seconds=HOUR) as lease:
        assert set(keys(client, prefix)) == {*before, "lease"}
        assert HOUR + DAY - 60 < keys(client, prefix)["lease"] <= HOUR + DAY
        assert calm.delete("s", lease=lease)
        assert set(keys(client, prefix)) == {"lease", "writes"}
        assert [info.id for info in calm.list_sessions().sessions] == ["warm"]
        assert calm.prune_expired() == 0
        lease.renew()
    assert DAY - 60 < keys(client, prefix)["lease"] <= DAY
    calm.create("s")
    assert keys(client, prefix)["session"] <= 1000


def test_tokens_grow_though_the_servers_clock_was_set_back(
    calm: RedisSessionStore, client: redis.Redis, prefix: str
) -> None:
    later = 4_000_000_000_000_000
    client.hset(f"{prefix}{{s}}:lease", mapping={"token": later, "holder": "x", "ends": 0})
    with calm.lease("s") as lease:
        assert lease.token == later + 1
    # And is not forgotten before the clock has passed it.
    assert keys(client, prefix)["lease"] > later / 1e6 - time.time()


@pytest.mark.parametrize(
    "stored",
    [
        b"another type",
        {"token": "x", "holder": "h", "ends": 2**60},
        {"token": 2**53, "holder": "h", "ends": 2**60},
        {"token": 1, "holder": "h", "ends": b"-\xff"},
        {"token": 1, "holder": "h", "ends": 2**52},
        pytest.param({"token": 1, "holder": "h", "ends": "9" * 400}, id="no end"),
        {"token": 2**53 - 1, "holder": "h", "ends": 0},
        {"token": 1, "holder": "h"},
        {"token": 1, "ends": 2**60},
        {"x": "y"},
    ],
    ids=repr,
)
def test_a_lease_that_cannot_be_read_is_nobodys(
    calm: RedisSessionStore, client: redis.Redis, prefix: str, stored: Any
) -> None:
    key = f"{prefix}{{s}}:lease"
    client.set(key, stored) if isinstance(stored, bytes) else client.hset(key, mapping=stored)
    for refused in (Fence("s", 1), RenewLease("s", 1)):
        with pytest.raises(SessionLeasedError):
            calm.run(refused)
    assert calm.run(ReleaseLease("s", "h")) is False
    with calm.lease("s") as lease:
        assert calm.append_message("s", said("x"), lease=lease) == 1
        assert lease.token > 2**50


def test_what_is_damaged_is_reported_to_nobody_but_the_owner(
    calm: RedisSessionStore, client: redis.Redis, prefix: str
) -> None:
    calm.create("t", user_id="u")
    client.set(f"{prefix}{{t}}:lease", "x")
    with pytest.raises(SessionAccessError):
        calm.run(AcquireLease("t", user_id="v"))
    assert calm.run(AcquireLease("t", user_id="u"))


# -- Lost answers ----------------------------------------------------------------------------------


@pytest.fixture
def proxy(server: redis_servers.Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture(params=["sync", "async"])
def distant(
    request: pytest.FixtureRequest, proxy: Proxy, calm: RedisSessionStore, prefix: str
) -> Iterator[SessionStore]:
    """A store by way of the proxy, whose first write is behind it."""
    with Stores(RedisSessionStore, request.param) as stores:
        url = f"redis://127.0.0.1:{proxy.port}"
        store = stores.open(redis=url, key_prefix=prefix, timeout=20.0)
        store.delete("gone")
        assert calm.get("gone") is None
        yield store


def test_each_is_one_round_trip(distant: SessionStore, proxy: Proxy) -> None:
    before = proxy.round_trips()
    with distant.lease("s") as lease:
        lease.renew()
        distant.run(lease.fence())
        distant.run([lease.fence(), GetMessages("s")])
        distant.run(turn(lease.token))
        distant.append_message("s", said("y"), lease=lease)
    assert proxy.round_trips() - before == 7


def test_what_a_lease_answered_is_answered_again(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    """Also where it has changed hands in between: it is not taken, or given back, once more."""

    def take_over() -> None:
        nonlocal other
        other = calm.run(AcquireLease("s", HOUR, None, True, "other"))

    other = 0
    proxy.drop_replies(then=take_over)
    token = distant.run(AcquireLease("s", HOUR, None, True, "me"))
    assert 0 < token < other
    calm.run(Fence("s", other))
    calm.run(ReleaseLease("s", "other"))

    token = distant.run(AcquireLease("s", HOUR, None, False, "me"))
    proxy.drop_replies(then=take_over)
    assert distant.run(RenewLease("s", token, HOUR)) is None
    calm.run([Fence("s", other)])

    token = distant.run(AcquireLease("s", HOUR, None, True, "me"))
    proxy.drop_replies(then=lambda: calm.run(AcquireLease("s", HOUR, None, False, "me")))
    assert distant.run(ReleaseLease("s", "me")) is True
    with pytest.raises(SessionLeasedError):
        distant.run(AcquireLease("s"))


@pytest.mark.parametrize("count", [2, 3])
def test_a_write_whose_answer_was_lost_with_the_lease_is_not_reported_as_refused(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore, count: int
) -> None:
    lease = distant.lease("s", seconds=HOUR).__enter__()
    work = turn(lease.token)[:count]
    proxy.drop_replies(then=lambda: calm.run(AcquireLease("s", HOUR, None, True, "other")))
    assert distant.run(work)[:2] == [None, 1]
    assert ids(calm.get_messages("s")) == ["m0", "m1", "m2", "x"]
    with pytest.raises(SessionLeasedError):
        distant.run(work)


# -- Late ones -------------------------------------------------------------------------------------


LATE = {
    "acquire": AcquireLease("free", HOUR),
    "take over": AcquireLease("s", HOUR, take_over=True),
    "renew": RenewLease("s", 0, 10 * HOUR),
    "release": ReleaseLease("s", "me"),
}


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
@pytest.mark.parametrize("name", LATE)
def test_what_was_given_up_does_nothing_later(
    proxy: Proxy, calm: RedisSessionStore, prefix: str, name: str, how: str
) -> None:
    token = calm.run(AcquireLease("s", HOUR, holder="me"))
    late: Any = RenewLease("s", token, 10 * HOUR) if name == "renew" else LATE[name]

    async def main() -> None:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with RedisSessionStore(url, key_prefix=prefix, timeout=TIMEOUT) as store:
            await store.adelete("gone")
            proxy.hold()
            if how == "cancelled":
                await cancelled(store.arun(late), proxy.held)
            else:
                with pytest.raises(StoreTimeoutError):
                    await store.arun(late)
                assert await store.aget_messages(late.session_id, limit=1) is not None
            proxy.let_through()

    asyncio.run(main())
    calm.run(Fence("s", token))
    with pytest.raises(SessionLeasedError) as held:
        calm.run(AcquireLease("s"))
    assert held.value.seconds_left is not None
    assert held.value.seconds_left <= HOUR
    with calm.lease("free"):
        pass


# -- Elsewhere ------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("where", ["redis_cluster?protocol=3", "old_redis_guarded?protocol=2"])
def test_a_turn_under_a_lease(
    request: pytest.FixtureRequest, where: str, mode: str, prefix: str
) -> None:
    """In a Cluster, behind Sentinels, in both protocols, by a user who may do what is needed."""
    name, _, options = where.partition("?")
    url = f"{permitted(request.getfixturevalue(name))}?{options}"
    with Stores(RedisSessionStore, mode) as stores:
        store = stores.open(redis=url, key_prefix=prefix, timeout=20.0)
        for number in range(5):  # in several slots
            session_id = f"s{number}"
            with store.lease(session_id, seconds=HOUR, user_id="u") as lease:
                assert store.append_message(session_id, said("x"), user_id="u", lease=lease) == 1
                with pytest.raises(SessionLeasedError):
                    store.lease(session_id).__enter__()
                with pytest.raises(SessionAccessError):
                    store.lease(session_id, user_id="v", take_over=True).__enter__()
                lease.renew()
                with store.lease(session_id, take_over=True) as other:
                    assert other.token > lease.token
                    for late in ([GetMessages(session_id, user_id="u")], [Append(session_id, [])]):
                        with pytest.raises(SessionLeasedError):
                            store.run([lease.fence(late[0].user_id), *late])
                    assert store.delete(session_id, lease=other)
            with store.lease(session_id) as last:
                assert last.token > other.token
        assert store.list_sessions().sessions == []


# -- Many leases -----------------------------------------------------------------------------------


def test_leases_take_no_write_from_the_record(
    calm: RedisSessionStore, client: redis.Redis, prefix: str
) -> None:
    """It stays as long as ever, and what it says of versions is of writes alone."""
    for _ in range(100):
        with calm.lease("s") as lease:
            calm.append_message("s", said("x"), lease=lease)
    assert calm.update("s", metadata={"a": 1}, expected_version=101).version == 102
    assert 0 < client.strlen(f"{prefix}{{s}}:writes") <= 2 * 64 * 28
