"""Several operations as one step in Redis, which by itself does not undo a script that fails."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from frames import shows
from given_up import cancelled
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from msgspec.structs import replace
from redis_versions import VERSIONS
from servers import permissions
from servers import redis as redis_servers
from servers.process import wait_until
from servers.proxy import Proxy

from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    RedisSessionStore,
    SessionAccessError,
    SessionConflictError,
    SessionMessage,
    SessionStore,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    Operation,
    ReplaceMessage,
    Rewind,
    Update,
)
from sessionstore.redis import scripts
from sessionstore.testing import Stores
from sessionstore.testing.model import visible
from sessionstore.testing.samples import contents, conversation, ids, said
from sessionstore.testing.strategies import MODEST, json_objects, texts

TIMEOUT = 1.0
MOMENT = 100  # milliseconds by which an end that is put back may be another: a busy machine's


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> redis_servers.Server:
    return request.getfixturevalue(request.param)


@pytest.fixture
def prefix() -> str:
    return f"sessionstore:{uuid.uuid4()}:"


@pytest.fixture(params=[None, 1000.0], ids=["for good", "with a TTL"])
def store(
    request: pytest.FixtureRequest, server: redis_servers.Server, prefix: str
) -> Iterator[RedisSessionStore]:
    url, ttl = server.url, request.param
    with RedisSessionStore(url, key_prefix=prefix, ttl_seconds=ttl, timeout=20.0) as store:
        yield store


# -- All or nothing --------------------------------------------------------------------------------


class Kept:
    """All that a server has below a prefix: what is in each key, and when it ends."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        found = sorted(client.scan_iter(match=f"{prefix}*", count=10_000))
        self.contents = {key: self._content(client, key) for key in found}
        self.ends = {key: self._end(client, key) for key in found}

    def _end(self, client: redis.Redis, key: bytes) -> float:
        (seconds, more), left = client.pipeline().time().pttl(key).execute()
        return left if left < 0 else seconds * 1000 + more / 1000 + left

    def _content(self, client: redis.Redis, key: bytes) -> Any:
        reads: dict[bytes, Callable[[], Any]] = {
            b"string": lambda: client.get(key),
            b"hash": lambda: client.hgetall(key),
            b"list": lambda: client.lrange(key, 0, -1),
            b"zset": lambda: client.zrange(key, 0, -1, withscores=True),
        }
        return reads[client.type(key)]()

    def require_same(self, before: Kept) -> None:
        assert self.contents == before.contents
        for key, end in self.ends.items():
            was = before.ends[key]
            assert end == was == -1 or (was > 0 and abs(end - was) < MOMENT), key


MESSAGES = [f"m{number}" for number in range(40)]
message_ids = st.sampled_from(MESSAGES)
one_message = st.builds(SessionMessage, role=st.just("user"), content=texts, id=message_ids)
batches = st.lists(one_message, max_size=6)
changes = st.dictionaries(st.sampled_from("abc"), st.none() | st.integers() | json_objects)
limits = st.none() | st.integers(0, 6)


def operations(name: str) -> st.SearchStrategy[Operation[Any]]:
    """Give a strategy for operations on a session; those that may fail do so now and then."""
    session = st.just(name)
    return st.one_of(
        st.builds(Append, session, batches),
        st.builds(Append, session, st.just(conversation(30))),
        st.builds(DeleteMessages, session, st.lists(message_ids, max_size=12)),
        st.builds(Rewind, session, st.none() | message_ids),
        st.builds(Update, session, st.none() | batches, st.none() | changes),
        st.builds(GetMessages, session, limits),
        st.builds(Get, session, limits),
        st.builds(ReplaceMessage, session, one_message),
        st.builds(GetMessages, session, limits, after=message_ids),
        st.builds(Create, session, batches, metadata=changes),
    )


def outcome(store: SessionStore, operation: Any) -> Any:
    try:
        return [visible(result) for result in store.run(operation)]
    except SessionStoreError as error:
        return type(error), str(error)


class _Lists(RuleBasedStateMachine):
    """Lists of operations on a store in Redis and on one in memory."""

    store: RedisSessionStore
    client: redis.Redis
    prefix: str

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.memory = InMemorySessionStore()

    def agree(self, given: list[Operation[Any]]) -> None:
        before = Kept(self.client, self.prefix)
        expected = outcome(self.memory, given)
        assert outcome(self.store, given) == expected
        if isinstance(expected, tuple):
            Kept(self.client, self.prefix).require_same(before)
        for name in "ab":
            assert visible(self.store.get(name)) == visible(self.memory.get(name))
        listed = [info.id for info in self.store.list_sessions().sessions]
        assert listed == [info.id for info in self.memory.list_sessions().sessions]

    @rule(given=st.lists(operations("a"), min_size=1, max_size=6))
    def of_one_session(self, given: list[Operation[Any]]) -> None:
        self.agree(given)

    @rule(given=st.lists(operations("a"), min_size=1, max_size=6))
    def that_fails_at_last(self, given: list[Operation[Any]]) -> None:
        self.agree([*given, Append("a", [said("x")], expected_version=10**6)])

    @rule(given=st.lists(operations("b"), max_size=3))
    def that_deletes(self, given: list[Operation[Any]]) -> None:
        self.agree([*given, Delete("b")])

    @rule(given=st.lists(operations("b"), min_size=1, max_size=4))
    def of_another(self, given: list[Operation[Any]]) -> None:
        self.agree(given)


@pytest.mark.soak
def test_any_list_does_all_or_nothing(
    store: RedisSessionStore, server: redis_servers.Server, prefix: str
) -> None:
    with server.client() as client:
        kind = type("Lists", (_Lists,), {"store": store, "client": client, "prefix": prefix})
        run_state_machine_as_test(kind, settings=MODEST)


SIZE = 9000


@pytest.mark.soak
@pytest.mark.parametrize(
    "names",
    [
        [f"m{number}" for number in range(10, SIZE - 10)],
        [f"m{number}" for number in range(0, SIZE, 3)],
        ["m5", "m7", "m8"],
        [f"m{SIZE - 5}", f"m{SIZE - 3}"],
        ["m0", "m1", f"m{SIZE - 1}"],
        [f"m{number}" for number in range(SIZE)],
    ],
    ids=["most", "every third", "near the first", "near the last", "at the ends", "all"],
)
def test_many_deleted_messages_of_a_long_session_come_back(
    store: RedisSessionStore, server: redis_servers.Server, prefix: str, names: list[str]
) -> None:
    store.append_messages("s", conversation(SIZE))
    store.delete_messages("s", ["m100", "m200"])
    with server.client() as client:
        before = Kept(client, prefix)
        last = Rewind("s", None), Rewind("s", names[-1]), Rewind("s", "m50")
        for first in (DeleteMessages("s", names), Update("s", conversation(3)), *last):
            with pytest.raises(SessionConflictError):
                store.run(
                    [first, Append("s", conversation(SIZE)), Update("s", expected_version=99)]
                )
            Kept(client, prefix).require_same(before)


def fail(store: RedisSessionStore) -> None:
    """Have a list fail after a write of each kind."""
    writes = [
        Append("s", conversation(6)),
        DeleteMessages("s", ["m0", "m2"]),
        ReplaceMessage("s", said("x", "m1")),
        Rewind("s", "m3"),
        Update("s", metadata={"n": 1}),
    ]
    with pytest.raises(SessionConflictError):
        store.run([*writes, Append("s", [said("x")], expected_version=999)])


@pytest.mark.parametrize("seconds", [(None, 1000), (1000, None), (10, 1000), (1000, 10)])
def test_ends_of_keys_come_back(
    server: redis_servers.Server, prefix: str, seconds: tuple[float | None, ...]
) -> None:
    with (
        RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=seconds[0]) as first,
        RedisSessionStore(server.url, key_prefix=prefix, ttl_seconds=seconds[1]) as second,
        server.client() as client,
    ):
        first.create("s", messages=conversation(4), user_id=None)
        first.delete_messages("s", ["m1"])
        before = Kept(client, prefix)
        fail(second)
        Kept(client, prefix).require_same(before)


def test_a_full_record_and_entries_of_expired_sessions_come_back(
    store: RedisSessionStore, server: redis_servers.Server, prefix: str
) -> None:
    for number in range(128):
        store.update("s", metadata={"n": number}) if number else store.create("s")
    with server.client() as client:
        for index in ("{:all}", "{:agent:default}"):
            client.zadd(prefix + index, {"gone/default/": 5.0})
        before = Kept(client, prefix)
        for _ in range(3):
            fail(store)
            Kept(client, prefix).require_same(before)


def test_what_is_found_damaged_late_undoes_all(
    store: RedisSessionStore, server: redis_servers.Server, prefix: str
) -> None:
    store.append_messages("s", conversation(5))
    with server.client() as client:
        client.set(f"{prefix}{{s}}:deleted", "not a list")
        before = Kept(client, prefix)
        with pytest.raises(SessionStoreError) as alone:
            store.run(DeleteMessages("s", ["m1"]))
        with pytest.raises(type(alone.value), match=re.escape(str(alone.value))):
            store.run([Append("s", [said("x")]), DeleteMessages("s", ["m1"]), Get("s")])
        Kept(client, prefix).require_same(before)


def test_every_write_command_of_the_scripts_can_be_undone(server: redis_servers.Server) -> None:
    noted = set(re.findall(r"(?m)^  ([A-Z]+) = ", scripts.UNDO.text.decode()))
    called = set(permissions.ALWAYS) - {"eval", "evalsha"}
    found = server.run("COMMAND", "INFO", *called)
    assert len(found) == len(called)
    assert {name.upper() for name in found if "write" in found[name]["flags"]} == noted


def test_an_error_in_a_list_shows_no_words(store: RedisSessionStore) -> None:
    message = said("a secret", "m")
    with pytest.raises(SessionConflictError) as caught:
        store.run([Append("s", [message]), Get("s"), Append("s", [message], expected_version=9)])
    assert shows(caught.value, "a secret") == []


def test_a_list_too_large_for_one_request_is_refused_before_it_is_sent(
    store: RedisSessionStore,
) -> None:
    many = [str(number) for number in range(400_000)]
    with pytest.raises(InvalidMessageError, match="one step"):
        store.run([Append("s", [said("x")]), *[DeleteMessages("s", many)] * 3])
    assert store.get("s") is None


# -- Lost answers ----------------------------------------------------------------------------------


@pytest.fixture
def proxy(server: redis_servers.Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def calm(server: redis_servers.Server, prefix: str) -> Iterator[RedisSessionStore]:
    """A store with a way of its own to the server, which knows the scripts."""
    with RedisSessionStore(server.url, key_prefix=prefix) as store:
        for write in (store.delete, store.create, store.get, store.get_messages):
            write("warm")
        store.append_messages("s", conversation(5))
        yield store


def known(calm: RedisSessionStore, turn: list[Operation[Any]]) -> list[Operation[Any]]:
    """Have the server know the script of a list: the answer that is lost is to be the list's."""
    with suppress(SessionStoreError):
        calm.run([replace(part, session_id="warm") for part in turn])
    return turn


@pytest.fixture(params=["sync", "async"])
def distant(
    request: pytest.FixtureRequest, proxy: Proxy, calm: RedisSessionStore, prefix: str
) -> Iterator[SessionStore]:
    """A store by way of the proxy, whose first write is behind it."""
    with Stores(RedisSessionStore, request.param) as stores:
        url = f"redis://127.0.0.1:{proxy.port}"
        store = stores.open(redis=url, key_prefix=prefix, timeout=20.0)
        store.delete("warm")
        assert calm.get("warm") is None
        yield store


def test_a_list_whose_answer_was_lost_is_done_once(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    turn: list[Operation[Any]] = [
        Append("s", [said("x", "x"), said("y", "y")], expected_version=1),
        DeleteMessages("s", ["m0", "x", "none"], expected_version=2),
        ReplaceMessage("s", said("new", "m1")),
        Update("s", metadata={"n": 1}, expected_version=4),
        Get("s"),
    ]
    known(calm, turn)
    proxy.drop_replies()
    added, deleted, replaced, info, data = distant.run(turn)
    assert (added, deleted, replaced) == (2, ["m0", "x"], None)
    assert (info.version, info.metadata) == (5, {"n": 1})
    assert data == calm.get("s")
    assert (data.version, contents(data.messages)[0]) == (5, "new")


def test_a_list_with_a_rewind_whose_answer_was_lost_is_done_once(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    turn = [Rewind("s", "m1"), Append("s", [said("y", "m4"), said("x", "x")]), Rewind("s", "x")]
    known(calm, turn)
    proxy.drop_replies(then=lambda: calm.append_message("s", said("theirs", "t")))
    assert distant.run(turn) == [["m2", "m3", "m4"], 2, []]
    assert ids(calm.get_messages("s")) == ["m0", "m1", "m4", "x", "t"]


def test_a_list_is_done_once_though_others_write_between_two_tries(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    """What its reads show then has all that was written by then in it: its own, too."""
    turn = known(calm, [GetMessages("s", 2), Append("s", [said("x", "x")])])
    proxy.drop_replies(then=lambda: calm.append_message("s", said("theirs", "t")))
    view, added = distant.run(turn)
    assert (ids(view), added) == (["x", "t"], 1)
    assert ids(calm.get_messages("s", limit=2)) == ["x", "t"]
    turn = known(calm, [Append("s", [said("x", "z")]), ReplaceMessage("s", said("ours", "t"))])
    proxy.drop_replies(then=lambda: calm.replace_message("s", said("again", "t")))
    assert distant.run(turn) == [1, None]
    assert contents(calm.get_messages("s", limit=2)) == ["again", "x"]


def test_what_did_nothing_the_first_time_does_nothing_the_second(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    """Though others made it possible meanwhile: the step was then, and not now."""

    def others() -> None:
        calm.delete_messages("s", ["m0"])
        calm.append_message("s", said("theirs", "t"))

    turn: list[Operation[Any]] = [
        Append("s", [said("x", "m0")]),
        DeleteMessages("s", ["t"]),
        Append("s", [said("y", "y")]),
    ]
    known(calm, turn)
    proxy.drop_replies(then=others)
    assert distant.run(turn) == [0, [], 1]
    assert ids(calm.get_messages("s")) == ["m1", "m2", "m3", "m4", "y", "t"]
    turn = known(calm, [Append("new", [said("x", "x")]), Append("new", []), Delete("new")])
    proxy.drop_replies(then=lambda: calm.create("new"))
    assert distant.run(turn) == [1, 0, True]
    assert calm.get("new") is not None


@pytest.mark.parametrize(
    "turn",
    [
        [GetMessages("s", before="m1"), DeleteMessages("s", ["m1"])],
        [Update("s", metadata={"n": 1}), Delete("s")],
    ],
    ids=["read", "update"],
)
def test_what_was_done_is_not_reported_as_refused(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore, turn: list[Operation[Any]]
) -> None:
    """Where a part can't be answered any more, the outcome is reported as not known."""
    known(calm, turn)
    proxy.drop_replies()
    with pytest.raises(StoreTimeoutError, match="can't be known"):
        distant.run(turn)
    session = calm.get("s")
    assert session is None or ids(session.messages) == ["m0", "m2", "m3", "m4"]


def test_a_list_that_ends_with_a_delete_is_done_once(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    turn = known(calm, [Append("s", [said("x", "x")]), Delete("s")])
    proxy.drop_replies(then=lambda: calm.create("s", messages=conversation(1), user_id="other"))
    assert distant.run(turn) == [1, True]
    assert ids(calm.get_messages("s")) == ["m0"]


def test_a_list_is_not_done_twice_where_nobody_knows_any_more(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    def many() -> None:
        for number in range(150):
            calm.update("s", metadata={"n": number})

    turn: list[Operation[Any]] = [ReplaceMessage("s", said("ours", "m1"))]
    turn = known(calm, [*turn, Append("s", [said("x", "x")])])
    proxy.drop_replies(then=many)
    with pytest.raises(StoreUnavailableError, match="can't be known"):
        distant.run(turn)
    assert contents(calm.get_messages("s"))[1] == "ours"


def test_a_list_of_many_writes_is_done_once(
    distant: SessionStore, proxy: Proxy, calm: RedisSessionStore
) -> None:
    """As many as the server remembers; of more it is said that nobody knows."""
    few = known(calm, [Update("s", metadata={"n": n}) for n in range(64)])
    proxy.drop_replies()
    assert [info.version for info in distant.run(few)] == list(range(2, 66))
    many = known(calm, [Append("s", [said("x", f"x{n}")]) for n in range(200)])
    proxy.drop_replies()
    with pytest.raises(StoreTimeoutError, match="can't be known"):
        distant.run(many)
    session = calm.get("s")
    assert session is not None
    assert (session.version, session.message_count) == (265, 205)


@pytest.mark.soak
def test_a_list_on_a_connection_that_was_closed_is_done(
    proxy: Proxy, calm: RedisSessionStore, prefix: str
) -> None:
    """Also in a session with so many writes that the server forgets the oldest with the first."""
    timeout = 1.0
    url = f"redis://127.0.0.1:{proxy.port}"
    with RedisSessionStore(url, key_prefix=prefix, timeout=timeout) as store:
        store.append_message("warm", said("x"))
        turn = known(calm, [Append("s", [said("x", name)]) for name in "xyz"])
        for number in range(60):
            calm.update("s", metadata={"n": number})
        over = time.monotonic()
        wait_until(lambda: time.monotonic() - over > 2 * timeout, "these are longer ago")
        for number in range(67):
            calm.update("s", metadata={"n": number})
        proxy.forget()
        assert store.run(turn) == [1, 1, 1]


# -- Cancelled and given up ------------------------------------------------------------------------

LATE: list[Operation[Any]] = [
    GetMessages("s", 2),
    Append("s", [said("x", "late")]),
    Update("s", metadata={"late": True}),
    DeleteMessages("s", ["m0"]),
]


def test_a_cancelled_list_is_settled_when_the_cancelled_call_returns(
    proxy: Proxy, calm: RedisSessionStore, prefix: str
) -> None:
    async def main() -> None:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with RedisSessionStore(url, key_prefix=prefix, timeout=20.0) as store:
            await store.aappend_message("warm", said("x"))
            before = calm.get("s")
            known(calm, LATE)
            proxy.hold()
            await cancelled(store.arun(LATE), proxy.held)
            proxy.let_through()
            assert calm.get("s") == before
            proxy.delay(0.6)
            answered = proxy.answered()
            await cancelled(store.arun(LATE), lambda: proxy.answered() > answered)
            after = calm.get("s")
            assert after is not None
            assert (after.version, after.metadata) == (4, {"late": True})
            assert ids(after.messages) == ["m1", "m2", "m3", "m4", "late"]

    asyncio.run(main())


def test_a_list_that_timed_out_does_nothing_later(
    proxy: Proxy, calm: RedisSessionStore, prefix: str
) -> None:
    url = f"redis://127.0.0.1:{proxy.port}"
    with RedisSessionStore(url, key_prefix=prefix, timeout=TIMEOUT) as store:
        store.append_message("warm", said("x"))
        known(calm, LATE)
        proxy.hold()
        with pytest.raises(StoreTimeoutError):
            store.run(LATE)
        with RedisSessionStore(url, key_prefix=prefix, timeout=20.0) as other:
            assert other.run([Append("s", [said("y", "after")]), GetMessages("s", 2)])[0] == 1
        proxy.let_through()
        assert ids(calm.get_messages("s")) == ["m0", "m1", "m2", "m3", "m4", "after"]
        assert calm.run(Get("s")).metadata == {}  # type: ignore[union-attr]


# -- Permissions, replicas, Cluster ----------------------------------------------------------------


def test_a_list_needs_no_more_permissions_than_its_operations(
    server: redis_servers.Server, prefix: str, calm: RedisSessionStore
) -> None:
    commands = permissions.ALWAYS
    url = permissions.permit(server.url, [server], [c for c in commands if c != "lset"])
    with RedisSessionStore(url, key_prefix=prefix) as store:
        with pytest.raises(SessionStoreError, match=r"\+lset"):
            store.run(LATE)
        assert ids(calm.get_messages("s")) == ["m0", "m1", "m2", "m3", "m4"]
        permissions.permit(server.url, [server], commands)
        assert store.run(LATE)[1:][0] == 1
    reader = permissions.permit(server.url, [server], ["evalsha", "eval", "@read"])
    with RedisSessionStore(reader, key_prefix=prefix) as store:
        data, messages = store.run([Get("s"), GetMessages("s")])
        assert data.messages == messages


def test_a_server_that_forgot_the_script_is_given_it_again(
    server: redis_servers.Server, store: RedisSessionStore
) -> None:
    for name in "ab":
        server.run("SCRIPT", "FLUSH")
        assert store.run([GetMessages("s"), Append("s", [said("x", name)])])[1] == 1


@pytest.mark.soak
def test_a_list_waits_for_replicas_where_it_wrote(
    server: redis_servers.Server, prefix: str, calm: RedisSessionStore
) -> None:
    turns: list[list[Operation[Any]]] = [
        [GetMessages("s"), Append("s", [said("x", "x")])],
        [Append("s", [said("x", "x")]), Get("s")],
    ]
    failing = [Append("s", [said("y")]), Append("s", [said("z")], expected_version=9)]
    for turn in (*turns, failing, [Get("s"), Delete("s")]):
        known(calm, turn)
    url = server.url
    with RedisSessionStore(url, key_prefix=prefix, wait_replicas=1, timeout=2.0) as store:
        assert len(store.run([Get("s"), GetMessages("s")])) == 2
        assert store.run([Get("nothing"), Delete("nothing")]) == [None, False]
        for turn in turns:
            with pytest.raises(StoreTimeoutError, match="only 0 of 1 replicas"):
                store.run(turn)
        with pytest.raises(SessionConflictError):
            store.run(failing)
    assert ids(calm.get_messages("s", limit=1)) == ["x"]


def test_a_cluster_enters_a_list_into_its_index_once(
    redis_cluster: redis_servers.Cluster, prefix: str
) -> None:
    def listed(store: RedisSessionStore) -> list[str]:
        return [info.id for info in store.list_sessions(user_id="u").sessions]

    with RedisSessionStore(redis_cluster.url, key_prefix=prefix, timeout=20.0) as store:
        for name in "ab":
            assert store.run(
                [
                    Append(name, [said("x", "x")], user_id="u"),
                    Append(name, [said("y", "y")], user_id="u"),
                    Get(name, user_id="u"),
                ]
            )[:2] == [1, 1]
        assert listed(store) == ["b", "a"]
        assert store.run([GetMessages("a", user_id="u"), Append("a", [said("z")], user_id="u")])
        assert listed(store) == ["a", "b"]
        with pytest.raises(SessionAccessError):
            store.run([GetMessages("b"), Append("b", [said("z")], user_id="eve")][1:])
        assert store.run([Update("a", metadata={}, user_id="u"), Delete("a", user_id="u")])[1]
        assert listed(store) == ["b"]
        assert store.run([Append("c", [said("x")], user_id="u"), Delete("c", user_id="u")])[1]
        assert listed(store) == ["b"]
        infos = {info.id: info for info in store.list_sessions().sessions}
        data = store.get("b")
        assert data is not None
        assert infos["b"].updated_at == data.updated_at
