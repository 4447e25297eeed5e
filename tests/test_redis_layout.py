"""What is in the server: round trips, keys, expiry, memory, and keys that others changed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any

import msgspec
import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from redis.crc import key_slot
from redis_versions import VERSIONS
from servers import redis as redis_servers
from servers.process import wait_until
from servers.proxy import Proxy

from sessionstore import (
    CorruptMessageError,
    RedisSessionStore,
    SessionAccessError,
    SessionMessage,
    SessionNotFoundError,
    SessionStoreError,
)
from sessionstore.models import encode_message, new_id
from sessionstore.operations import (
    AcquireLease,
    Append,
    Get,
    GetMessages,
    ReleaseLease,
    Reseal,
    Update,
)
from sessionstore.redis.clients import Clients
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.requests import Command
from sessionstore.testing.samples import NASTY_IDS, conversation, ids, said


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> redis_servers.Server:
    return request.getfixturevalue(request.param)


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4()}:"


@pytest.fixture
def store(server: redis_servers.Server, prefix: str) -> Iterator[RedisSessionStore]:
    with RedisSessionStore(server.url, key_prefix=prefix) as store:
        yield store


EPOCH = datetime.fromtimestamp(0, timezone.utc)


def keys(server: redis_servers.Server, prefix: str) -> set[bytes]:
    with server.client() as client:
        return set(client.scan_iter(match=f"{prefix}*", count=10_000))


def kept(server: redis_servers.Server, prefix: str) -> set[bytes]:
    """Give the keys there are, but for the records of the newest writes, which go by themselves."""
    found = keys(server, prefix)
    records = {key for key in found if key.endswith((b":writes", b":deleted"))}
    assert all(-2 <= server.run("PTTL", key) <= 60_000 for key in records)
    assert -1 not in [server.run("PTTL", key) for key in records]
    return found - records


def operations(store: Any, a: str = "", name: str = "s") -> dict[str, Callable[[], Any]]:
    def call(method: str, *args: Any, **options: Any) -> Callable[[], Any]:
        return lambda: getattr(store, a + method)(*args, **options)

    log = conversation(30)
    return {
        "create": call("create", "c", messages=log, metadata={"title": "t"}, user_id="u"),
        "append": call("append_messages", name, log, user_id="u"),
        "append again": call("append_messages", name, log, user_id="u"),
        "append one": call("append_message", name, said("x"), expected_version=1),
        "get": call("get", name, limit=5),
        "get all": call("get", name),
        "read all": call("get_messages", name),
        "read": call("get_messages", name, limit=5, before="m20", keep_system=True),
        "replace": call("replace_message", name, said("new", "m3")),
        "reseal": call("run", Reseal(name, log[10:20], log[10:20])),
        "read on": call("get_messages", name, limit=5, after="m20"),
        "remove": call("delete_messages", name, ["m1", "m7", "m29", "no such"]),
        "remove nothing": call("delete_messages", name, ["m1"]),
        "rewind": call("rewind", name, to="m20"),
        "rewind nothing": call("rewind", name, to="m20"),
        "rewind all": call("rewind", name, to=None, expected_version=5),
        "update": call("update", name, messages=log, metadata={"a": 1}),
        "several": call("run", [GetMessages(name, limit=5), Append(name, [said("y")])]),
        "several writes": call("run", [Append(name, log), Update(name, metadata={}), Get(name)]),
        "several reads": call("run", [GetMessages(name), Get(name)]),
        "lease": call("run", AcquireLease(name, holder="me")),
        "lease again": call("run", AcquireLease(name, holder="me")),
        "release": call("run", ReleaseLease(name, "me")),
        "list": call("list_sessions"),
        "list by user": call("list_sessions", user_id="u", agent_id="default", limit=1),
        "list with the last": call("list_sessions", last=5, updated_after=EPOCH),
        "delete": call("delete", name),
        "prune": call("prune_expired"),
    }


def test_every_operation_is_one_round_trip(server: redis_servers.Server, prefix: str) -> None:
    with Proxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        with RedisSessionStore(url, key_prefix="warm" + prefix, ttl_seconds=1000) as warm:
            for operation in operations(warm).values():
                operation()
        with RedisSessionStore(url, key_prefix=prefix, ttl_seconds=1000) as store:
            store.delete("warm")  # the first write asks what it may do
            for name, operation in operations(store).items():
                before = proxy.round_trips()
                operation()
                assert proxy.round_trips() - before == 1, name


def test_every_async_operation_is_one_round_trip(server: redis_servers.Server, prefix: str) -> None:
    async def main(url: str) -> None:
        async with RedisSessionStore(url, key_prefix="warm" + prefix, ttl_seconds=1000) as warm:
            for operation in operations(warm, "a").values():
                await operation()
        async with RedisSessionStore(url, key_prefix=prefix, ttl_seconds=1000) as store:
            await store.adelete("warm")
            for name, operation in operations(store, "a").items():
                before = proxy.round_trips()
                await operation()
                assert proxy.round_trips() - before == 1, name

    with Proxy(server.port) as proxy:
        asyncio.run(main(f"redis://127.0.0.1:{proxy.port}"))


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_cluster_takes_one_round_trip_more_for_its_index(
    redis_cluster: redis_servers.Cluster, prefix: str, mode: str
) -> None:
    writes = {"create", "append", "append again", "append one", "replace", "update", "delete"}
    writes |= {"remove", "remove nothing", "several", "several writes"}
    writes |= {"rewind", "rewind nothing", "rewind all"}
    with ExitStack() as stack:
        proxies = [stack.enter_context(Proxy(one.port)) for one in redis_cluster.servers]
        ports = {one.port: p.port for one, p in zip(redis_cluster.servers, proxies, strict=True)}
        run, client, a = in_mode(stack, redis_cluster, ports, mode)
        store = RedisSessionStore(client, key_prefix=prefix, ttl_seconds=1000)
        for index in range(100):  # so that every script and connection has been used
            run(operations(store, a, str(index))["append"]())
        for operation in operations(store, a).values():
            run(operation())
        for name, operation in operations(store, a).items():
            if name == "create":
                run(operations(store, a, "c")["delete"]())
            before = [proxy.round_trips() for proxy in proxies]
            run(operation())
            trips = [p.round_trips() - b for p, b in zip(proxies, before, strict=True)]
            if name in writes or name.startswith("list"):
                assert 2 <= sum(trips) <= 4, (name, trips)
                assert max(trips) <= 2, (name, trips)
            else:
                assert sum(trips) == 1, (name, trips)


def in_mode(
    stack: ExitStack, cluster: redis_servers.Cluster, ports: dict[int, int], mode: str
) -> tuple[Callable[[Any], Any], Any, str]:
    """Give what runs an operation, a client by way of some proxies, and how operations begin."""

    def remap(at: tuple[str, int]) -> tuple[str, int]:
        return at[0], ports.get(at[1], at[1])

    if mode == "sync":
        return lambda done: done, stack.enter_context(cluster.client(address_remap=remap)), ""
    loop = asyncio.new_event_loop()
    stack.callback(loop.close)
    port = cluster.masters[0].port
    client = redis.asyncio.RedisCluster("127.0.0.1", port, protocol=2, address_remap=remap)
    stack.callback(lambda: loop.run_until_complete(client.aclose()))
    return loop.run_until_complete, client, "a"


def test_a_cluster_filters_where_its_index_is(
    redis_cluster: redis_servers.Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(clients: Clients, commands: list[Command], send: Any = Clients.send) -> list[Any]:
        asked.append(len(commands))
        return send(clients, commands)

    with RedisSessionStore(redis_cluster.url, key_prefix=prefix) as store:
        for number in range(40):
            agent = "rare" if number % 10 == 0 else "other"
            log = conversation(3)[1:]
            store.create(str(number), agent_id=agent, user_id="u", messages=log)
        list_rare = partial(store.list_sessions, agent_id="rare", user_id="u", limit=2)
        list_rare()  # so that every script has been used
        monkeypatch.setattr(Clients, "send", counted)
        page = list_rare()
        assert asked == [1, 3]
        asked.clear()
        [shown, _] = list_rare(last=5, updated_after=EPOCH).sessions  # not a round trip more
        assert asked == [1, 3]
        assert ids(shown.messages) == ["m1", "m2"]
        rest = list_rare(cursor=page.cursor)
        assert [info.id for info in page.sessions + rest.sessions] == ["30", "20", "10", "0"]
        assert rest.cursor is None


@pytest.mark.parametrize("several", [False, True])
def test_metadata_alone_leaves_every_key_the_time_it_has(
    server: redis_servers.Server, prefix: str, several: bool
) -> None:
    title = Update("s", metadata={"title": "T"})
    with RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=1000) as store:
        store.append_messages("s", conversation(3), user_id="u")
        own = [key for key in keys(server, prefix) if b"{s}:" in key]
        for key in own:
            server.run("PEXPIRE", key, 500_000)
        places = [server.run("ZRANGE", prefix + "{:all}", 0, -1, "WITHSCORES")]
        assert store.run([title, title] if several else [title])[-1].metadata == {"title": "T"}
        assert all(server.run("PTTL", key) <= 500_000 for key in own)
        assert places == [server.run("ZRANGE", prefix + "{:all}", 0, -1, "WITHSCORES")]
        store.append_message("s", said("more"))
        assert all(server.run("PTTL", key) > 500_000 for key in kept(server, prefix))
    with RedisSessionStore(server.url, key_prefix=prefix + "lasting:") as store:
        store.append_messages("s", conversation(3))
        store.run([title, title] if several else title)
        assert {server.run("PTTL", key) for key in kept(server, prefix + "lasting:")} == {-1}


@pytest.mark.parametrize("count", [1, 20_000])
def test_a_list_looks_at_so_many_messages_in_one_step(
    server: redis_servers.Server, prefix: str, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Others wait for a script: a page that shows much is read in parts."""
    monkeypatch.setattr("sessionstore.redis.entries._MOST_BODIES", 2 * count)
    with RedisSessionStore(server.url, key_prefix=prefix) as store:
        for number in range(7):
            store.append_messages(str(number), conversation(3))
        pages = [store.list_sessions(limit=limit, last=1) for limit in (2, 6, 7, 100)]
        assert [[info.id for info in page.sessions] for page in pages] == [
            list("65"),
            list("654321"),
            *[list("6543210")] * 2,
        ]
        assert [page.cursor is None for page in pages] == [False, False, True, True]
        assert all(ids(info.messages) == ["m2"] for page in pages for info in page.sessions)


def test_a_server_that_forgot_the_scripts_is_given_them_again(
    server: redis_servers.Server, store: RedisSessionStore
) -> None:
    store.append_message("s", said("one"))
    server.run("SCRIPT", "FLUSH")
    assert store.append_message("s", said("two")) == 1
    assert len(store.get_messages("s")) == 2


def test_a_script_that_was_forgotten_is_called_by_its_hash_once(
    server: redis_servers.Server, prefix: str
) -> None:
    with Proxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        with RedisSessionStore(url, key_prefix=prefix) as store:
            store.append_messages("s", conversation(3))
            for operation, round_trips in (
                (partial(store.get_messages, "s", limit=5), 2),
                (partial(store.append_message, "s", said("x")), 3),  # what is permitted, too
            ):
                server.run("SCRIPT", "FLUSH")
                before = proxy.round_trips()
                operation()
                assert proxy.round_trips() - before == round_trips


NASTY_PREFIXES = (
    "",
    "a",
    "a{",
    "a}",
    "a{}",
    "{a}",
    "{",
    "}",
    "*",
    "a%7B",
    "a:",
    "\n",
    "\N{GRINNING FACE}",
)


def test_stores_with_different_prefixes_share_no_key(server: redis_servers.Server) -> None:
    stores = [RedisSessionStore(server.url, key_prefix=prefix) for prefix in NASTY_PREFIXES]
    everyone = ("s", "{s}", "}", ":all", "a{s}", "")
    try:
        for number, store in enumerate(stores):
            for session_id in filter(None, everyone):
                log = [SessionMessage("user", str(number))]
                assert store.append_messages(session_id, log, user_id=str(number)) == 1
        for number, store in enumerate(stores):
            assert len(store.list_sessions().sessions) == 5
            for session_id in filter(None, everyone):
                assert [m.content for m in store.get_messages(session_id)] == [str(number)]
    finally:
        server.run("FLUSHALL")
        for store in stores:
            store.close()


def test_keys_stay_in_their_slot_and_prefix(redis_cluster: redis_servers.Cluster) -> None:
    for prefix in NASTY_PREFIXES:
        store = RedisSessionStore(redis_cluster.url, key_prefix=prefix)
        for session_id in NASTY_IDS:
            found = session_keys(store._exchange.layout.prefix, encoded(session_id)).with_lease
            slots = {key_slot(key) for key in found}
            assert len(slots) == 1, (prefix, session_id)
            assert all(key.startswith(store._exchange.layout.prefix + b"{") for key in found)
        store.close()


def test_sessions_of_a_cluster_are_spread(
    redis_cluster: redis_servers.Cluster, prefix: str
) -> None:
    with RedisSessionStore(redis_cluster.url, key_prefix=prefix) as store:
        for number in range(30):
            store.append_message(str(number), said("x"))
    for server in redis_cluster.masters:
        assert keys(server, prefix)


def test_deleted_sessions_leave_no_key(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    for session_id in NASTY_IDS:
        store.create(session_id, agent_id=session_id, user_id=session_id, messages=[said("x")])
    assert kept(server, prefix)
    for session_id in NASTY_IDS:
        assert store.delete(session_id, user_id=session_id)
    assert kept(server, prefix) == set()


# -- Expiry ----------------------------------------------------------------------------------------


def lifetimes(server: redis_servers.Server, prefix: str) -> list[int]:
    with server.client() as client:
        return [client.pttl(key) for key in kept(server, prefix) if b"{s}" in key]


def test_a_ttl_covers_every_key_and_slides(server: redis_servers.Server, prefix: str) -> None:
    writes: list[Callable[[RedisSessionStore], Any]] = [
        lambda s: s.create("s", messages=conversation(3)),
        lambda s: s.append_message("s", said("x")),
        lambda s: s.replace_message("s", said("x", "m1")),
        lambda s: s.update("s", messages=conversation(3), metadata={"a": 1}),
        lambda s: s.update("s", messages=conversation(4)),
        lambda s: s.delete_messages("s", ["m0"]),
        lambda s: s.delete_messages("s", ["m2"]),
    ]
    for seconds, write in zip((100, 200.5, 300, 400, 500, 600, 700), writes, strict=True):
        with RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=seconds) as store:
            write(store)
        left = lifetimes(server, prefix)
        assert len(left) == (4 if seconds == 700 else 3)  # a gap has a key of its own
        assert all(seconds * 1000 - 10_000 < each <= seconds * 1000 for each in left)


def test_without_a_ttl_no_expiry_is_set_or_removed(
    server: redis_servers.Server, prefix: str
) -> None:
    with RedisSessionStore(server.url, key_prefix=prefix) as lasting:
        lasting.create("s")
        lasting.append_message("s", said("x"))
        assert lifetimes(server, prefix) == [-1, -1, -1]
        lasting.delete("s")
        with RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=100) as expiring:
            expiring.create("s")
        lasting.append_message("s", said("x"))
        left = lifetimes(server, prefix)
        assert len(left) == 3
        assert all(0 < each <= 101_000 for each in left)


def test_expired_sessions_leave_no_key(server: redis_servers.Server, prefix: str) -> None:
    with RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=1) as store:
        for number in range(20):
            log = conversation(3)
            store.create(str(number), agent_id=f"a{number % 2}", user_id="u", messages=log)
        wait_until(lambda: store.get("19") is None, "expiry")
        assert store.prune_expired() == 20
        assert store.prune_expired() == 0
    wait_until(lambda: keys(server, prefix) == set(), "Redis's own expiry")


def test_a_cluster_prunes_its_index(redis_cluster: redis_servers.Cluster, prefix: str) -> None:
    with RedisSessionStore(redis_cluster.url, key_prefix=prefix, ttl_seconds=1) as store:
        for number in range(20):
            store.create(str(number), agent_id=f"a{number % 2}", user_id="u")
        wait_until(lambda: store.get("19") is None, "expiry")
        assert store.prune_expired() == 20
    for server in redis_cluster.masters:
        wait_until(lambda: keys(server, prefix) == set(), "Redis's own expiry")  # noqa: B023


def test_an_index_expires_with_its_last_session(server: redis_servers.Server, prefix: str) -> None:
    with RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=0.05) as store:
        store.create("s", messages=conversation(3), user_id="u")
    wait_until(lambda: keys(server, prefix) == set(), "Redis's own expiry")


def test_an_index_of_a_cluster_ends_with_its_sessions(
    redis_cluster: redis_servers.Cluster, prefix: str
) -> None:
    with RedisSessionStore(redis_cluster.url, key_prefix=prefix, ttl_seconds=0.05) as store:
        store.create("s", messages=conversation(3), user_id="u")
    for server in redis_cluster.masters:
        wait_until(lambda: keys(server, prefix) == set(), "Redis's own expiry")  # noqa: B023


def lifetime_of_index(server: redis_servers.Server, prefix: str) -> int:
    return int(server.run("PTTL", f"{prefix}{{:all}}"))


@pytest.mark.parametrize("seconds", [(None, 1), (1, None), (100, 1), (1, 100)])
def test_an_index_lasts_as_long_as_any_session(
    server: redis_servers.Server, prefix: str, seconds: tuple[float | None, ...]
) -> None:
    for name, ttl in zip("ab", seconds, strict=True):
        with RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=ttl) as store:
            store.create(name)
    left = lifetime_of_index(server, prefix)
    assert left == -1 if None in seconds else left > 90_000
    with RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=1) as store:
        store.append_message("b", said("x"))
    assert (lifetime_of_index(server, prefix) == -1) == (None in seconds)


def members(servers: list[redis_servers.Server], index: bytes) -> set[str]:
    found: set[str] = set()
    for server in servers:
        with suppress(redis_servers.redis.ResponseError):
            found |= {m.decode().split("/")[0] for m in server.run("ZRANGE", index, 0, -1)}
    return found


@pytest.mark.parametrize("clustered", [False, True])
def test_writes_drop_what_has_expired_from_the_indexes(
    redis_server: redis_servers.Server,
    redis_cluster: redis_servers.Cluster,
    prefix: str,
    clustered: bool,
) -> None:
    servers = redis_cluster.masters if clustered else [redis_server]
    url = redis_cluster.url if clustered else redis_server.url
    live = {"lasting", "long", "renewed"}
    with (
        RedisSessionStore(url, key_prefix=prefix) as lasting,
        RedisSessionStore(url, key_prefix=prefix, ttl_seconds=1000) as long,
        RedisSessionStore(url, key_prefix=prefix, ttl_seconds=0.05) as short,
    ):
        lasting.create("lasting", user_id="u")
        long.create("long", user_id="u")
        short.create("renewed", user_id="u")
        wait_until(lambda: short.get("renewed") is None, "expiry")
        lasting.create("renewed", user_id="u")
        for number in range(30):
            short.create(f"old{number}", user_id="u")
        wait_until(lambda: short.get("old29") is None, "expiry")

        def write_on() -> bool:
            short.append_message("new", said("x"), user_id="u")
            return members(servers, all_of) <= live | {"new"}

        all_of, of_user = (
            short._exchange.layout.index(b"all"),
            short._exchange.layout.index(b"user", b"u"),
        )
        if not clustered:
            for _ in range(60):
                write_on()
        wait_until(write_on, "expired entries are dropped")
        assert members(servers, all_of) == members(servers, of_user) == live | {"new"}
        wait_until(lambda: short.get("new") is None, "expiry")
        assert {info.id for info in lasting.list_sessions(user_id="u").sessions} == live


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "1", 1e11])
def test_an_invalid_ttl_is_refused(ttl: Any) -> None:
    with pytest.raises(ValueError, match="ttl_seconds"):
        RedisSessionStore(ttl_seconds=ttl)


# -- Memory ----------------------------------------------------------------------------------------


def test_a_message_takes_a_bounded_amount_of_memory(prefix: str) -> None:
    with (
        redis_servers.single() as server,
        RedisSessionStore(server.url, key_prefix=prefix) as store,
    ):
        count, log = 20_000, [said(f"text number {number}" * 10) for number in range(20_000)]
        payload = sum(len(encoded) for encoded in map(encode, log))
        store.append_message("warm", said("x"))
        before = server.info("memory")["used_memory"]
        for start in range(0, count, 1000):
            store.append_messages("s", log[start : start + 1000])
        stored = sum(
            server.run("MEMORY", "USAGE", key, "SAMPLES", 0)
            for key in keys(server, prefix)
            if b"{s}" in key
        )
        assert (stored - payload) / count < 160
        # What the server says of itself has its buffers in it, which shrink in time.
        wait_until(
            lambda: (server.info("memory")["used_memory"] - before - payload) / count < 160,
            "the server's buffers shrink",
        )


def encode(message: SessionMessage) -> bytes:
    return encode_message(replace(message, id=new_id()))


# -- Keys that others changed ----------------------------------------------------------------------


@pytest.mark.parametrize("part", ["session", "messages", "positions", "gaps"])
def test_a_key_of_another_type_is_reported(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str, part: str
) -> None:
    store.create("s", messages=conversation(3))
    store.create("other", messages=conversation(3))
    server.run("DEL", f"{prefix}{{s}}:{part}")
    server.run("SET", f"{prefix}{{s}}:{part}", "not ours")
    for operation in (
        lambda: store.get("s"),
        lambda: store.get_messages("s"),
        lambda: store.append_message("s", said("x")),
        lambda: store.update("s", metadata={"a": 1}),
        lambda: store.delete_messages("s", ["m0"]),
        lambda: store.delete("s"),
    ):
        with pytest.raises(CorruptMessageError, match="session 's'"):
            operation()
    assert server.run("GET", f"{prefix}{{s}}:{part}") == b"not ours"
    assert ids(store.get_messages("other")) == ["m0", "m1", "m2"]
    assert "other" in [info.id for info in store.list_sessions().sessions]


@pytest.mark.parametrize("part", ["messages", "positions", "gaps"])
def test_an_evicted_key_is_reported_and_can_be_deleted(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str, part: str
) -> None:
    store.create("s", messages=conversation(4), user_id="alice")
    store.delete_messages("s", ["m2"])
    server.run("DEL", f"{prefix}{{s}}:{part}")
    for operation in (
        lambda: store.append_message("s", said("x")),
        lambda: store.get_messages("s"),
        lambda: store.get_messages("s", limit=1),
    ):
        with pytest.raises(CorruptMessageError, match="session 's'"):
            operation()
    with pytest.raises(SessionAccessError):
        store.delete("s", user_id="eve")
    assert store.delete("s", user_id="alice")
    assert kept(server, prefix) == set()


def test_a_session_remembers_no_gap_that_is_closed(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    everything = [f"m{number}" for number in range(10)]
    for order in (everything, everything[::-1], everything[3:] + everything[:3]):
        store.append_messages("s", conversation(10))
        for name in ("m2", "m4", "m5", "m7"):
            store.delete_messages("s", [name])
        assert server.run("ZCARD", f"{prefix}{{s}}:gaps") == 4
        for name in order:
            store.delete_messages("s", [name])
        assert f"{prefix}{{s}}:gaps".encode() not in keys(server, prefix)


def test_a_pinned_first_message_leaves_no_trail_of_gaps(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    """Where the oldest behind it go as new ones come, what is stored does not grow."""
    store.append_messages("s", conversation(20))
    for number in range(20, 400):
        store.append_message("s", said("new", f"m{number}"))
        assert store.delete_messages("s", [f"m{number - 19}"]) == [f"m{number - 19}"]
        assert server.run("ZCARD", f"{prefix}{{s}}:gaps") <= 20
    expected = ["m0", *(f"m{number}" for number in range(381, 400))]
    assert ids(store.get_messages("s")) == expected
    for place, name in enumerate(expected):
        assert ids(store.get_messages("s", before=name)) == expected[:place]


def test_positions_that_cannot_be_read_are_reported_when_gaps_are_closed(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    store.append_messages("s", conversation(20))
    positions = f"{prefix}{{s}}:positions"
    for name, value in (("m16", "none"), ("m17", "99"), ("m18", "-1")):
        server.run("HSET", positions, name, value)
    gone = [f"m{number}" for number in range(1, 15)]
    assert store.delete_messages("s", gone) == gone
    assert f"{prefix}{{s}}:gaps".encode() not in keys(server, prefix)
    for name in ("m16", "m17", "m18"):
        with pytest.raises(CorruptMessageError):
            store.get_messages("s", before=name)
    assert ids(store.get_messages("s")) == ["m0", "m15", "m16", "m17", "m18", "m19"]
    assert ids(store.get_messages("s", before="m19", limit=1)) == ["m18"]


@pytest.mark.parametrize("to", ["m15", "m3", None])
def test_a_rewind_finds_ids_that_the_messages_do_not_tell(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str, to: str | None
) -> None:
    store.append_messages("s", conversation(20))
    for place, body in ((17, "no JSON"), (18, '{"id":"m19"}'), (19, '{"id":"\\u00"}')):
        server.run("LSET", f"{prefix}{{s}}:messages", place, body)
    start = 0 if to is None else int(to[1:]) + 1
    assert store.rewind("s", to=to) == [f"m{number}" for number in range(start, 20)]
    assert store.append_messages("s", conversation(20)) == 20 - start
    assert ids(store.get_messages("s")) == [f"m{number}" for number in range(20)]


def test_a_rewind_of_positions_that_cannot_be_read_deletes_nothing(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    store.append_messages("s", conversation(20))
    for name, value in (("m17", "none"), ("m18", "99"), ("m19", "-1")):
        server.run("HSET", f"{prefix}{{s}}:positions", name, value)
        for to in ("m16", "m2", None):
            with pytest.raises(CorruptMessageError):
                store.rewind("s", to=to)
    assert len(store.get_messages("s")) == 20
    server.run("HDEL", f"{prefix}{{s}}:positions", "m19")
    server.run("HSET", f"{prefix}{{s}}:positions", "m17", 17, "m18", 18, b"\xff", 19)
    with pytest.raises(CorruptMessageError):
        store.rewind("s", to="m2")


def test_a_rewind_leaves_no_more_gaps_than_messages(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    store.append_messages("s", conversation(40))
    gone = [f"m{number}" for number in range(1, 20, 2)]
    store.delete_messages("s", gone)
    left = [name for name in ids(conversation(40)[5:]) if name not in gone]
    assert store.rewind("s", to="m4") == left
    assert server.run("ZCARD", f"{prefix}{{s}}:gaps") == 2
    store.append_messages("s", conversation(40)[20:])
    assert ids(store.get_messages("s", before="m21")) == ["m0", "m2", "m4", "m20"]
    store.delete_messages("s", ["m2", "m20"])
    store.rewind("s", to="m4")
    assert f"{prefix}{{s}}:gaps".encode() not in keys(server, prefix)
    store.append_messages("s", conversation(3))
    assert ids(store.get_messages("s", before="m2")) == ["m0", "m4", "m1"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_large_delete_leaves_nothing_with_the_head(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str, order: int
) -> None:
    """It would come with every list and read of the session."""
    store.append_messages("s", conversation(5000))
    gone = [f"m{number}" for number in range(1, 5000, 2)]
    assert store.delete_messages("s", gone[::order]) == gone
    head = server.run("HGETALL", f"{prefix}{{s}}:session")
    assert sum(map(len, [*head, *head.values()])) < 300
    assert len(store.get_messages("s")) == 2500


def test_an_evicted_head_leaves_no_session(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    store.create("s", messages=conversation(3), user_id="alice")
    server.run("DEL", f"{prefix}{{s}}:session")
    assert store.get("s") is None
    assert store.list_sessions().sessions == []
    assert store.append_messages("s", conversation(2)) == 2
    assert ids(store.get_messages("s")) == ["m0", "m1"]


def test_bytes_that_are_no_message_are_corrupt(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    store.create("s", messages=conversation(3))
    server.run("LSET", f"{prefix}{{s}}:messages", 1, b"\xff\xfe secret")
    with pytest.raises(CorruptMessageError, match="session 's'") as caught:
        store.get_messages("s")
    assert "secret" not in str(caught.value)
    assert ids(store.get_messages("s", limit=1)) == ["m2"]
    store.replace_message("s", said("again", "m1"))
    assert ids(store.get_messages("s")) == ["m0", "m1", "m2"]


@pytest.mark.parametrize("value", [b"\xff", b"a b"])
@pytest.mark.parametrize(
    "field",
    ["agent", "user", "version", "updated", "created", "count", "first", "gaps", ":title"],
)
def test_a_damaged_head_raises_corrupt_message_error(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str, field: str, value: bytes
) -> None:
    store.create("s", messages=conversation(3), metadata={"title": "t"})
    server.run("HSET", f"{prefix}{{s}}:session", field, value)
    with pytest.raises(CorruptMessageError, match="session 's'"):
        store.get("s")


@pytest.mark.parametrize("field", ["version", "updated", "created", "count", "agent", ":title"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_damaged_head_breaks_no_list(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str, field: str, lost: bool
) -> None:
    for name in ("first", "s", "last"):
        store.create(name, messages=conversation(3), metadata={"title": "t"})
    head = f"{prefix}{{s}}:session"
    server.run("HSET", head, field, b"\xff")
    if lost and field != ":title":
        server.run("HDEL", head, field)
    listed = [info.id for info in store.list_sessions(limit=2).sessions]
    assert listed == ["last", "first"]
    before = server.run("HGETALL", head)
    with pytest.raises((CorruptMessageError, SessionNotFoundError)):
        store.update("s", metadata={"a": 1})
    assert server.run("HGETALL", head) == before


@pytest.mark.parametrize("value", ["1e300", "inf", "-1", "1.5", str(2**53 + 1)])
@pytest.mark.parametrize("field", ["version", "updated", "created"])
def test_an_invalid_number_in_a_head_harms_no_other_session(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str, field: str, value: str
) -> None:
    store.create("s")
    server.run("HSET", f"{prefix}{{s}}:session", field, value)
    for write in (lambda: store.append_message("s", said("x")), lambda: store.update("s")):
        with pytest.raises(CorruptMessageError):
            write()
    server.run("ZADD", f"{prefix}{{:all}}", "1e300", "s/default/")
    assert store.create("other").updated_at.year < 2200
    assert [info.id for info in store.list_sessions().sessions] == ["other"]
    assert store.delete("s")


def garbage(server: Any, index: bytes) -> None:
    server.execute_command("ZADD", index, 2**52, "no entry")
    server.execute_command("ZADD", index, 2**52 + 1, "a/b")
    server.execute_command("ZADD", index, 2**52 + 2, b"\xff/\xff/\xff/\xff")
    server.execute_command("ZADD", index, 2**52 + 3, b"\xff}{/default/")
    server.execute_command("ZADD", index, "1.5", "a/b/c")
    server.execute_command("ZADD", index, "-inf", "low/default/")
    server.execute_command("ZADD", index, "inf", "high/default/")


@pytest.mark.soak
@pytest.mark.parametrize("clustered", [False, True])
def test_an_index_with_what_the_store_did_not_write(
    redis_server: redis_servers.Server,
    redis_cluster: redis_servers.Cluster,
    prefix: str,
    clustered: bool,
) -> None:
    url = redis_cluster.url if clustered else redis_server.url
    client = redis_cluster.client() if clustered else redis_server.client()
    with client, RedisSessionStore(url, key_prefix=prefix, ttl_seconds=100) as store:
        for name in ("first", "second", "high"):
            store.create(name)
        garbage(client, store._exchange.layout.index(b"all"))
        for limit in (1, 2, 50):
            listed, cursor = [], None
            while True:
                page = store.list_sessions(limit=limit, cursor=cursor)
                listed += [info.id for info in page.sessions]
                cursor = page.cursor
                if cursor is None:
                    break
            assert listed == ["second", "first"]
        store.prune_expired()
        store.append_message("high", said("x"))
        assert [info.id for info in store.list_sessions(limit=1).sessions] == ["high"]
        assert store.delete("high")
        assert [info.id for info in store.list_sessions().sessions] == ["second", "first"]


def values() -> st.SearchStrategy[bytes]:
    texts = st.text(st.characters(exclude_categories=["Cs"]))
    plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts
    trees = st.recursive(plain, lambda t: st.lists(t) | st.dictionaries(texts, t), max_leaves=10)
    return trees.map(msgspec.json.encode)


STRANGE = [
    *(b"nan", b"NaN", b"-inf", b"Infinity", b"0x10", b"01", b"-01", b"1.", b".5", b"+1"),
    *(b"1e999", b"", b" ", b"1,2", b'1,"x":2', b"1]", b"tru", b"nulll", b"{}{}", b"[1,]"),
    *(b'"\xff"', b'"\xc3"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"a\nb"'),
    *(b'"\x00"', b'"\\ud800"', b'"\\x"', b'{"a":1,}', b"{1:2}", b"'a'", b"//", b'"a', b"1e", b"-"),
    b"[" * 2000 + b"]" * 2000,
]


def require_whole_update(store: RedisSessionStore, server: redis_servers.Server, head: str) -> bool:
    """An update is refused and changes nothing, or is done and gives what there is."""
    before = server.run("HGETALL", head)
    try:
        updated = store.update("s", metadata={"new": 1})
    except CorruptMessageError:
        assert server.run("HGETALL", head) == before
        return False
    session = store.get("s")
    assert session is not None
    assert session.metadata == updated.metadata or "nan" in str(updated.metadata)
    return True


@pytest.mark.parametrize("value", STRANGE)
@pytest.mark.parametrize("name", [b":old", b":\xff"])
def test_an_update_of_strange_metadata_is_done_or_refused(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str, name: bytes, value: bytes
) -> None:
    store.create("s")
    head = f"{prefix}{{s}}:session"
    server.run("HSET", head, name, value)
    assert not require_whole_update(store, server, head)


@pytest.mark.soak
@given(value=values(), at=st.integers(0), byte=st.none() | st.integers(0, 255))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_update_of_any_metadata_is_done_or_refused(
    redis_server: redis_servers.Server, value: bytes, at: int, byte: int | None
) -> None:
    prefix = f"{uuid.uuid4()}:"
    head = f"{prefix}{{s}}:session"
    with RedisSessionStore(redis_server.url, key_prefix=prefix) as store:
        store.create("s")
        if byte is not None:
            value = bytes([*value[: at % len(value)], byte, *value[at % len(value) + 1 :]])
        redis_server.run("HSET", head, ":old", value)
        done = require_whole_update(store, redis_server, head)
        assert done or byte is not None


def test_an_index_of_another_type_is_reported(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    store.create("s", messages=conversation(3), user_id="u")
    server.run("SET", f"{prefix}{{:user:u}}", "not ours")
    for operation in (
        lambda: store.append_message("s", said("x")),
        lambda: store.list_sessions(user_id="u"),
    ):
        with pytest.raises(SessionStoreError, match="did not write"):
            operation()
    assert ids(store.get_messages("s")) == ["m0", "m1", "m2"]


@pytest.mark.parametrize("part", ["messages", "positions", "gaps", "writes", "the head"])
@pytest.mark.parametrize("how", ["another type", "evicted"])
def test_damage_is_reported_to_the_owner_only(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str, part: str, how: str
) -> None:
    store.create("s", messages=conversation(4), user_id="alice")
    store.delete_messages("s", ["m2"])
    key = f"{prefix}{{s}}:{part}"
    if part == "the head":
        server.run("HSET", f"{prefix}{{s}}:session", "version", "none")
    else:
        server.run("DEL", key)
    if how == "another type" and part != "the head":
        server.run(
            *(("HSET", key, "not", "ours") if part == "writes" else ("SET", key, "not ours"))
        )
    for operation in (
        partial(store.get, "s"),
        partial(store.get_messages, "s"),
        partial(store.append_message, "s", said("x")),
        partial(store.create, "s"),
        partial(store.replace_message, "s", said("x", "m0")),
        partial(store.update, "s", metadata={"a": 1}),
        partial(store.delete_messages, "s", ["m0"]),
        partial(store.delete, "s"),
    ):
        with pytest.raises(SessionAccessError):
            operation(user_id="eve")
    if part != "writes":
        with pytest.raises(CorruptMessageError):
            store.get("s", user_id="alice")


def test_a_record_of_another_type_is_reported_and_can_be_deleted(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    store.create("s", messages=conversation(4))
    server.run("DEL", f"{prefix}{{s}}:writes")
    server.run("HSET", f"{prefix}{{s}}:writes", "not", "ours")
    with pytest.raises(CorruptMessageError, match="session 's'"):
        store.append_message("s", said("x"))
    assert len(store.get_messages("s")) == 4
    assert store.delete("s")
    assert kept(server, prefix) == set()


def test_a_session_whose_owner_was_lost_is_closed_to_every_user(
    server: redis_servers.Server, store: RedisSessionStore, prefix: str
) -> None:
    store.create("s", messages=conversation(4), user_id="alice")
    server.run("HDEL", f"{prefix}{{s}}:session", "user")
    for operation in (
        partial(store.get, "s"),
        partial(store.get_messages, "s"),
        partial(store.get_messages, "s", limit=1),
        partial(store.append_message, "s", said("x")),
        partial(store.delete, "s"),
    ):
        with pytest.raises(SessionAccessError):
            operation(user_id="eve")
    with pytest.raises(CorruptMessageError):
        store.get_messages("s")
    assert store.delete("s")
    assert store.list_sessions().sessions == []  # which finds the owner's entry, too
    assert kept(server, prefix) == set()


def test_an_index_made_by_sessions_that_expire_is_kept_for_one_that_does_not(
    server: redis_servers.Server, prefix: str
) -> None:
    """Where the index was evicted, or deleted, and made again with their TTL."""
    kept = RedisSessionStore(server.url, key_prefix=prefix)
    brief = RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=60)
    with server.client() as client, kept, brief:
        kept.append_message("kept", SessionMessage("user", "Hello!"))
        index = f"{prefix}{{:all}}"
        assert client.delete(index) == 1
        brief.append_message("brief", SessionMessage("user", "Hello!"))
        assert client.pttl(index) > 0
        kept.update("kept", metadata={"title": "T"})
        assert client.pttl(index) == -1
