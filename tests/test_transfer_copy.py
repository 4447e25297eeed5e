"""Sessions are copied from store to store: each once, in order, whatever was there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from children import Children
from faults import FaultyStore
from transfers import DIES, THEN, all_of, fill, messages, require_same, session
from warm import Warm

from sessionstore import (
    DbSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SessionMessage,
    SessionStore,
    SessionStoreError,
    SQLiteSessionStore,
    StoreUnavailableError,
    WrapperSessionStore,
)
from sessionstore.operations import Get, GetMessages, ListSessions, Restore
from sessionstore.testing import FlakySessionStore
from sessionstore.transfer import (
    LeftSession,
    TransferProgress,
    TransferReport,
    acopy_sessions,
    aimport_from,
    copy_sessions,
    import_from,
)
from sessionstore.transfer.readers.unreadable import Unreadable
from sessionstore.transfer.sources import MARK

Copy = Callable[..., TransferReport]


@pytest.fixture(params=["sync", "async"])
def copy(request: pytest.FixtureRequest) -> Copy:
    if request.param == "sync":
        return copy_sessions
    return lambda *args, **kwargs: asyncio.run(acopy_sessions(*args, **kwargs))


@pytest.fixture
def source() -> Iterator[SessionStore]:
    with InMemorySessionStore() as store:
        fill(store)
        yield store


def test_a_store_is_copied_with_all_that_is_in_it(copy: Copy, source: SessionStore) -> None:
    with SQLiteSessionStore() as target:
        report = copy(source, target, verify=True)
        assert report == TransferReport(copied=6, messages=1_707, verified=6)
        assert report.complete
        require_same(source, target)
        assert copy(source, target) == TransferReport(equal=6)
        assert copy(source, target, verify=True) == TransferReport(equal=6, verified=6)
        require_same(source, target)


def test_stores_with_servers_are_copied(
    source: SessionStore, redis_server: Any, postgres: Any, schema: str
) -> None:
    """From memory to Redis, from there to PostgreSQL, and back."""
    with (
        RedisSessionStore(redis_server.url, key_prefix=f"{schema}:") as redis,
        PostgresAgentDb(postgres.url(), schema=schema) as db,
    ):
        target = DbSessionStore(db)
        back = InMemorySessionStore()
        for one, other in ((source, redis), (redis, target), (target, back)):
            assert copy_sessions(one, other, verify=True).copied == 6
            require_same(source, other)


def test_sessions_of_one_time_keep_their_places(copy: Copy, tmp_path: Any) -> None:
    source, target = InMemorySessionStore(), SQLiteSessionStore(tmp_path / "target.db")
    for number in range(230):  # more than a page of a list, twice
        same = {"updated_at": THEN + timedelta(days=number // 115)}
        source.run(Restore(session(f"s{number * 7 % 230}", 1, **same)))
    with target:
        assert copy(source, target).complete
        require_same(source, target)


def test_only_what_is_asked_for_is_copied(copy: Copy, source: SessionStore) -> None:
    for chosen, ids in [
        ({"user_id": "user 0"}, ["s0", "s2", "long"]),
        ({"agent_id": "agent 0"}, ["s0", "s1"]),
        ({"user_id": "user 0", "agent_id": "agent 1"}, ["s2"]),
        ({"user_id": "nobody"}, []),
    ]:
        target = InMemorySessionStore()
        assert copy(source, target, **chosen).copied == len(ids)
        assert {info.id for info in all_of(target)} == set(ids)


def test_what_is_there_and_different_is_told_and_left(copy: Copy, source: SessionStore) -> None:
    target = InMemorySessionStore()
    copy(source, target)
    target.append_message("s1", SessionMessage("user", "more", id="more"))
    target.update("s2", metadata={"title": "mine"})
    target.delete("s3")
    target.create("s3", user_id="eve")
    moved = session("long", 1_700, user_id="user 0", messages=messages(1_700, size=9))
    target.delete("long")
    target.run(Restore(moved))
    before = all_of(target)
    report = copy(source, target)
    assert report.different == [
        LeftSession("s3", "", "it is there already, with other owner, agent, metadata, "
                    "created_at, updated_at, number of messages"),
        LeftSession("s2", "", "it is there already, with other metadata"),
        LeftSession("s1", "", "it is there already, with other updated_at, number of messages"),
    ]  # fmt: skip
    assert (report.equal, report.copied, report.failed) == (3, 0, [])
    verified = copy(source, target, verify=True)
    assert verified.different[0] == LeftSession(
        "long", "", "it is there already, with other messages"
    )
    assert all_of(target) == before


def test_what_can_not_be_read_is_told_and_left(copy: Copy) -> None:
    """Also one of whose parts some are written: nothing of it stays."""
    source = InMemorySessionStore()
    fill(source)
    for name in ("s3", "long"):
        stored = source._table.sessions[name]
        stored.bodies[-1] = b'{"role": "user", "content": "secret'
    target = InMemorySessionStore()
    report = copy(source, target)
    assert (report.copied, [left.session_id for left in report.failed]) == (4, ["long", "s3"])
    for left in report.failed:
        assert left.why.startswith("CorruptMessageError: ")
        assert "secret" not in left.why
    assert {info.id for info in all_of(target)} == {"s0", "s1", "s2", "open"}


def test_what_has_expired_for_the_target_is_left_out(copy: Copy, source: SessionStore) -> None:
    target = InMemorySessionStore(retention_days=7)
    assert copy(source, target) == TransferReport(copied=1, messages=1, expired=5)
    assert [info.id for info in all_of(target)] == ["open"]


def test_progress_is_told(copy: Copy, source: SessionStore) -> None:
    told: list[TransferProgress] = []
    copy(source, InMemorySessionStore(), progress=told.append)
    assert [one.sessions for one in told] == sorted(one.sessions for one in told)
    assert [one.messages for one in told] == sorted(one.messages for one in told)
    assert (told[-1].sessions, told[-1].messages) == (6, 1_707)
    assert sum(one.session_id == "long" for one in told) >= 4


@pytest.mark.parametrize("role", ["source", "target"])
def test_a_store_that_goes_away_ends_it_and_it_is_gone_on_with(
    copy: Copy, source: SessionStore, role: str
) -> None:
    """At whichever request: with the answer lost, or the request."""
    target = InMemorySessionStore()
    faulty = FaultyStore(source if role == "source" else target)
    stores = (faulty, target) if role == "source" else (source, faulty)
    for count in range(100):
        for fault in ("down", "lost"):
            faulty.left = [None] * count + [fault]
            faulty.fault = lambda: faulty.left.pop(0) if faulty.left else None
            try:
                report = copy(*stores, verify=True)
            except StoreUnavailableError:
                continue
            assert report.complete
            require_same(source, target)
            if faulty.left:
                return
        if count % 5 == 4:
            for name in ("long", "s1"):
                target.delete(name)
    raise AssertionError("it never came to its end")


def test_closed_stores_and_wrong_arguments_are_refused(source: SessionStore) -> None:
    closed = InMemorySessionStore()
    closed.close()
    for stores in ((closed, source), (source, closed)):
        with pytest.raises(SessionStoreError, match="closed"):
            copy_sessions(*stores)
    with pytest.raises(ValueError, match="user_id"):
        copy_sessions(source, InMemorySessionStore(), user_id="")


# -- While others write ---------------------------------------------------------------------------


class Meddling(WrapperSessionStore):
    """Has somebody else write before certain operations."""

    def __init__(self, store: SessionStore, kind: type, meddle: Callable[[], object]) -> None:
        super().__init__(store)
        self.kind, self.meddle, self.times = kind, meddle, 1

    def run(self, operation: Any) -> Any:
        if type(operation) is self.kind and self.times:
            self.times -= 1
            self.meddle()
        return super().run(operation)


@pytest.mark.parametrize(
    "meddle",
    [
        lambda store: store.append_message("long", SessionMessage("user", "new", id="new")),
        lambda store: store.replace_message("long", SessionMessage("user", "other", id="m3")),
        lambda store: store.delete_messages("long", ["m499", "m1"]),
        lambda store: store.delete("long"),
        lambda store: store.update("long", metadata={"title": "new"}),
        lambda store: store.update("long", messages=[]),
    ],
)
def test_a_long_session_that_is_written_to_is_copied_as_it_is_then(
    source: SessionStore, meddle: Callable[[SessionStore], object]
) -> None:
    def after_a_page() -> None:
        meddling.kind, meddling.times = GetMessages, 1
        meddling.meddle = lambda: meddle(source)

    target = InMemorySessionStore()
    meddling = Meddling(source, GetMessages, after_a_page)
    assert copy_sessions(meddling, target).complete
    require_same(source, target)


def test_one_that_is_written_to_all_the_time_is_told_and_gone_on_with(
    source: SessionStore,
) -> None:
    target = InMemorySessionStore()
    count = iter(range(100))

    def say() -> None:
        source.append_message("long", SessionMessage("user", "x", id=f"new {next(count)}"))

    meddling = Meddling(source, GetMessages, say)
    meddling.times = 1_000
    report = copy_sessions(meddling, target)
    why = "it was written to all the time: run this again"
    assert report.failed == [LeftSession("long", "", why)]
    info = target.get("long", limit=0)
    assert info is not None
    assert MARK in info.metadata
    assert copy_sessions(source, target).copied == 1
    require_same(source, target)


def test_a_session_that_moves_to_the_front_is_not_missed() -> None:
    """The list was passed there; each is copied once all the same."""
    source, target = InMemorySessionStore(), InMemorySessionStore()
    for number in range(250):
        at = THEN + timedelta(seconds=number)
        source.run(Restore(session(f"s{number}", 1, created_at=THEN, updated_at=at)))

    def write() -> None:
        for number in (3, 240):
            source.append_message(f"s{number}", SessionMessage("user", "x"))
        source.create("new")

    meddling = Meddling(source, Restore, write)
    meddling._wrapped, watched = target, meddling
    report = copy_sessions(source, watched)
    assert report.copied in (250, 251)
    assert {f"s{number}" for number in range(250)} <= {info.id for info in all_of(target)}


def test_one_that_moves_again_and_again_is_not_missed_among_others() -> None:
    """Those that others wrote to after it fill the first page of what is gone through again."""
    source = InMemorySessionStore()
    for number in range(250):
        source.append_message(f"s{number}", SessionMessage("user", "x"))
    page = 0

    def write() -> None:
        nonlocal page
        page += 1
        for number in {2: [0, *range(150, 250)], 5: [0]}.get(page, []):
            source.append_message(f"s{number}", SessionMessage("user", "y"))

    meddling = Meddling(source, ListSessions, write)
    meddling.times = 1_000
    assert copy_sessions(meddling, target := InMemorySessionStore()).complete
    assert {f"s{number}" for number in range(250)} == {info.id for info in all_of(target)}


@pytest.mark.parametrize("is_short", [True, False])
def test_no_session_is_taken_for_gone_in_an_outage(source: SessionStore, is_short: bool) -> None:
    """A fallback knows nothing of most of them, and its list was read before."""
    server = FlakySessionStore(source)
    fallback = FallbackSessionStore(server, retry_after=0)

    class Cut(WrapperSessionStore):
        reads = 0

        def run(self, operation: Any) -> Any:
            self.reads += type(operation) is Get
            if self.reads != 2:
                return super().run(operation)
            server.go_down()
            answer = super().run(operation)
            if is_short:
                server.come_back()
                fallback.recover()
            return answer

    target = InMemorySessionStore()
    if is_short:
        assert copy_sessions(Cut(fallback), target).complete
        require_same(source, target)
    else:
        with pytest.raises(StoreUnavailableError, match="without its primary"):
            copy_sessions(Cut(fallback), target)


def unfinished(source: SessionStore) -> InMemorySessionStore:
    """Give a store to which the long session was copied in part."""
    target = InMemorySessionStore()
    faulty = FaultyStore(target)

    def fail(asked: Restore) -> None:
        if asked.expected_version == 2:
            raise StoreUnavailableError("away")

    faulty.before[Restore] = fail
    with pytest.raises(StoreUnavailableError):
        copy_sessions(source, faulty, user_id="user 0")
    there = target.get("long")
    assert there is not None
    assert there.metadata[MARK] == {"messages": 1_700, "version": 2}
    assert 0 < there.message_count < 1_700
    return target


def test_an_unfinished_copy_is_gone_on_with_and_copied_by_nobody(source: SessionStore) -> None:
    target = unfinished(source)
    report = copy_sessions(target, InMemorySessionStore())
    assert [left.session_id for left in report.failed] == ["long"]
    assert "unfinished" in report.failed[0].why
    assert copy_sessions(source, target, verify=True).complete
    require_same(source, target)


def test_an_unfinished_copy_of_an_older_state_is_made_again(source: SessionStore) -> None:
    target = unfinished(source)
    source.delete_messages("long", ["m7", "m900"])
    assert copy_sessions(source, target, verify=True).complete
    require_same(source, target)


def test_what_others_wrote_to_an_unfinished_copy_is_left(source: SessionStore) -> None:
    target = unfinished(source)
    target.append_message("long", SessionMessage("user", "mine", id="mine"))
    report = copy_sessions(source, target)
    assert [left.session_id for left in report.different] == ["long"]
    assert target.get_messages("long", limit=1)[0].id == "mine"


def test_an_unfinished_copy_of_another_session_is_left(source: SessionStore) -> None:
    target = InMemorySessionStore()
    other = session("long", 3, user_id="eve", metadata={MARK: {"messages": 9}})
    target.run(Restore(other))
    report = copy_sessions(source, target)
    assert [left.session_id for left in report.different] == ["long"]
    assert target.get_messages("long") == other.messages


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_readers_give_sessions_and_what_they_could_not_read(mode: str) -> None:
    def move(sessions: Iterable[Any], target: SessionStore, **how: Any) -> TransferReport:
        if mode == "sync":
            return import_from(sessions, target, **how)
        return asyncio.run(aimport_from(sessions, target, **how))

    given = [session("a"), Unreadable("row 7", "no role"), session("b", id=""), session("c", 1_200)]
    target = InMemorySessionStore()
    report = move(iter(given), target, verify=True)
    assert (report.copied, report.messages, report.verified) == (2, 1_202, 2)
    assert [(left.session_id, left.where) for left in report.failed] == [(None, "row 7"), ("", "")]
    assert move(given, target).equal == 2
    with pytest.raises(TypeError):
        move(["text"], target)


def test_two_messages_of_one_id_are_told_and_none_is_lost_in_silence() -> None:
    twice = [*messages(2), *messages(1)]
    target = InMemorySessionStore()
    report = import_from([session("a", 3, messages=twice), session("b")], target)
    assert [left.session_id for left in report.failed] == ["a"]
    assert "same id" in report.failed[0].why
    assert [info.id for info in all_of(target)] == ["b"]


# -- Killed ---------------------------------------------------------------------------------------


def test_a_copy_that_is_killed_is_gone_on_with(warm: Warm, tmp_path: Any) -> None:
    """At every fifth step here, at each in the soak."""
    with Children(warm) as children:
        assert int(children.run(DIES, tmp_path, 5)) > 10
