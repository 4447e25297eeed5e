"""Keys are rotated: under what others read and write, in steps, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from faults import FaultyStore

from sessionstore import (
    DecryptionError,
    EncryptedSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidSessionError,
    InvalidTypeError,
    SessionMessage,
    SessionStore,
    StoreTimeoutError,
    StoreUnavailableError,
    Window,
    WrapperSessionStore,
)
from sessionstore.encryption import RotationReport
from sessionstore.encryption.records import key_of
from sessionstore.operations import Append, Get, GetMessages, ReplaceMessage, Reseal
from sessionstore.testing import FlakySessionStore, OpenStore
from sessionstore.testing.resealing import ResealContract
from sessionstore.transfer import TransferProgress

OLD, NEW, LOST = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
Rotate = Callable[..., RotationReport]


@pytest.fixture(params=["sync", "async"])
def rotate(request: pytest.FixtureRequest) -> Rotate:
    if request.param == "sync":
        return EncryptedSessionStore.rotate
    return lambda store, **named: asyncio.run(store.arotate(**named))


class TestReseal(ResealContract):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> EncryptedSessionStore:
            return EncryptedSessionStore(InMemorySessionStore(**options), {"old": OLD})

        return opened


class Watched(WrapperSessionStore):
    """Counts what it is asked for, and does something before one of them."""

    def __init__(self) -> None:
        super().__init__(InMemorySessionStore())
        self.asked: list[Any] = []
        self.before: Callable[[Any], object] = lambda _: None

    def run(self, operation: Any) -> Any:
        self.asked.append(operation)
        self.before(operation)
        return super().run(operation)

    async def arun(self, operation: Any) -> Any:
        return self.run(operation)

    def count(self, kind: type) -> int:
        return sum(type(operation) is kind for operation in self.asked)


@pytest.fixture
def held() -> Watched:
    return Watched()


def said(count: int, start: int = 0) -> list[SessionMessage]:
    return [SessionMessage("user", f"text {n}", id=f"m{n}") for n in range(start, start + count)]


def filled(held: SessionStore, key: Any, sessions: int = 3, count: int = 5) -> None:
    store = EncryptedSessionStore(held, key)
    for number in range(sessions):
        metadata = {"title": f"T{number}", "summary": {"text": "S", "until": "m1"}, "none": None}
        store.create(f"s{number}", messages=said(count), metadata=metadata, user_id="alice")


def keys_in(held: SessionStore) -> set[str]:
    """Give the ids of the keys that are in use; "plain" where something is not sealed."""
    found = set()
    for info in held.list_sessions(limit=1_000).sessions:
        values = [*info.metadata.values(), *(m.extra for m in held.get_messages(info.id))]
        found |= {key_of(value) or "plain" for value in values}
    return found


def both(held: SessionStore, **options: Any) -> EncryptedSessionStore:
    return EncryptedSessionStore(held, {"new": NEW, "old": OLD}, **options)


def test_all_is_under_the_first_key_afterwards(held: Watched, rotate: Rotate) -> None:
    filled(held, {"old": OLD})
    before = held.list_sessions().sessions
    report = rotate(both(held))
    assert (report.sessions, report.messages, report.values) == (3, 15, 9)
    assert report.complete
    assert keys_in(held) == {"new"}
    after = held.list_sessions().sessions
    times = [
        [(i.id, i.version, i.created_at, i.updated_at) for i in page] for page in (before, after)
    ]
    assert times[0] == times[1]
    store = EncryptedSessionStore(held, {"new": NEW})
    assert store.get_messages("s1") == both(held).get_messages("s1")
    assert [m.content for m in store.get_messages("s1")] == [f"text {n}" for n in range(5)]
    session = store.get("s1")
    assert session is not None
    assert session.metadata["title"] == "T1"
    assert session.metadata["none"] is None
    assert [m.id for m in Window().load(store, "s1")] == ["summary:m1", "m2", "m3", "m4"]


def test_a_second_time_it_reads_and_writes_nothing(held: Watched, rotate: Rotate) -> None:
    filled(held, {"old": OLD})
    assert rotate(both(held)).messages == 15
    held.asked.clear()
    report = rotate(both(held))
    assert (report.sessions, report.messages, report.values, report.complete) == (3, 0, 0, True)
    assert held.count(Reseal) == 0


def test_it_goes_on_where_it_was_killed(held: Watched, rotate: Rotate) -> None:
    filled(held, {"old": OLD}, sessions=6, count=250)

    def kill(operation: Any) -> None:
        if type(operation) is Reseal and held.count(Reseal) > 9:
            raise KeyboardInterrupt

    held.before = kill
    with pytest.raises(KeyboardInterrupt):
        rotate(both(held), batch=100)
    held.before = lambda _: None
    assert keys_in(held) == {"new", "old"}
    assert both(held).get_messages("s1") == said_as_in(held, "s1")
    report = rotate(both(held), batch=100)
    assert (report.sessions, report.complete) == (6, True)
    assert 0 < report.messages < 6 * 250
    assert keys_in(held) == {"new"}


def said_as_in(held: SessionStore, session_id: str) -> list[SessionMessage]:
    times = {message.id: message.created_at for message in held.get_messages(session_id)}
    return [
        SessionMessage("user", message.content, id=message.id, created_at=times[message.id])
        for message in said(len(times))
    ]


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_a_long_session_is_read_in_bounded_pages(held: Watched, batch: int) -> None:
    filled(held, {"old": OLD}, sessions=1, count=60)
    seen: list[TransferProgress] = []
    report = both(held).rotate(batch=batch, progress=seen.append)
    assert (report.messages, keys_in(held)) == (60, {"new"})
    reads = [operation for operation in held.asked if type(operation) is GetMessages]
    assert all(1 <= read.limit <= batch for read in reads if read.limit is not None)
    assert seen[-1] == TransferProgress(1, 60, "s0")
    assert len(seen) >= 60 // batch


@pytest.mark.soak
@pytest.mark.parametrize("plain", [False, True], ids=["sealed", "plain"])
def test_large_messages_are_read_a_few_at_a_time(held: Watched, plain: bool) -> None:
    store = held if plain else EncryptedSessionStore(held, {"old": OLD})
    content: Any = [{"type": "text", "text": "x" * 2**20}]
    large = [SessionMessage("user", content, id=f"m{n}") for n in range(120)]
    for message in large:
        store.append_message("s", message)
    held.asked.clear()
    assert both(held, allow_plain=plain).rotate().messages == 120
    swaps = [operation for operation in held.asked if type(operation) is Reseal]
    assert max(len(swap.new) for swap in swaps) <= 4
    limits = [operation.limit for operation in held.asked if type(operation) is GetMessages]
    assert limits[1] <= 4


def test_what_others_write_meanwhile_is_not_lost(held: Watched, rotate: Rotate) -> None:
    """Also by a process that does not have the new key yet: another run seals that."""
    filled(held, {"old": OLD}, sessions=3, count=30)
    old, new = EncryptedSessionStore(held, {"old": OLD}), both(held)
    number = iter(range(1_000))

    def meddle(operation: Any) -> None:
        if type(operation) not in (GetMessages, Reseal) or getattr(operation, "limit", 0) is None:
            return
        held.before = lambda _: None
        n = next(number)
        writer = (old, new)[n % 2]
        name = f"s{n % 3}"
        writer.append_message(name, SessionMessage("user", f"added {n}", id=f"a{n}"))
        writer.replace_message(name, SessionMessage("user", f"edited {n}", id=f"m{n % 27}"))
        writer.update(name, metadata={f"k{n}": n})
        writer.delete_messages(name, [f"m{29 - n % 3}"])
        held.before = meddle

    held.before = meddle
    rotate(new, batch=5)
    held.before = lambda _: None
    done = next(number)
    assert done > 10
    report = rotate(new)
    assert report.complete
    assert keys_in(held) == {"new"}
    store = EncryptedSessionStore(held, {"new": NEW})
    sessions = {name: store.get(name) for name in ("s0", "s1", "s2")}
    for n in range(done):
        session = sessions[f"s{n % 3}"]
        assert session is not None
        assert session.metadata[f"k{n}"] == n
        assert f"added {n}" in [message.content for message in session.messages]
    edited = {f"m{n % 27}": f"edited {n}" for n in range(done)}
    for session in sessions.values():
        assert session is not None
        assert {"m27", "m28", "m29"} - {message.id for message in session.messages}
    texts = {m.content for s in sessions.values() if s is not None for m in s.messages}
    assert set(edited.values()) & texts


def test_a_session_whose_messages_go_all_the_time_is_left_and_named(held: Watched) -> None:
    filled(held, {"old": OLD}, sessions=1, count=30)
    other = both(held)

    def take(operation: Any) -> None:
        if type(operation) is GetMessages and operation.before:
            held.before = lambda _: None
            other.delete_messages("s0", [operation.before])
            held.before = take

    held.before = take
    report = other.rotate(batch=2)
    assert not report.complete
    assert "run this again" in report.left[0].why
    held.before = lambda _: None
    assert other.rotate().complete
    assert keys_in(held) == {"new"}


# -- What is left ---------------------------------------------------------------------------------


def test_what_no_key_opens_is_left_and_its_key_named(held: Watched, rotate: Rotate) -> None:
    filled(held, {"old": OLD}, sessions=2)
    EncryptedSessionStore(held, {"lost": LOST}).append_messages("s1", said(2, 50))
    EncryptedSessionStore(held, {"lost": LOST}).update("s1", metadata={"x": 1})
    report = rotate(both(held))
    assert (report.sessions, report.messages, report.values) == (2, 10, 6)
    assert (report.missing_keys, report.complete) == (["lost"], False)
    [left] = report.left
    assert left.session_id == "s1"
    assert left.why.startswith("3 left: ")
    assert "'lost'" in left.why
    assert keys_in(held) == {"new", "lost"}
    all_keys = EncryptedSessionStore(held, {"new": NEW, "lost": LOST})
    assert rotate(all_keys).complete
    assert keys_in(held) == {"new"}


def test_what_is_plain_is_sealed_where_that_is_allowed(held: Watched, rotate: Rotate) -> None:
    held.create("s", messages=said(3), metadata={"title": "T", "none": None})
    report = rotate(both(held))
    assert (report.messages, report.complete) == (0, False)
    assert "not encrypted" in report.left[0].why
    assert keys_in(held) == {"plain"}
    report = rotate(both(held, allow_plain=True))
    assert (report.messages, report.values, report.complete) == (3, 2, True)
    session = both(held).get("s")
    assert session is not None
    assert session.metadata == {"title": "T", "none": None}
    assert keys_in(held) == {"new"}


def test_each_users_sessions_are_sealed_under_their_own_key(held: Watched, rotate: Rotate) -> None:
    vault: dict[str | None, Any] = {"alice": {"a1": OLD}, "bob": {"b1": LOST}}
    store = EncryptedSessionStore(held, vault.__getitem__)
    for user in ("alice", "bob", "carol"):
        vault.setdefault(user, {"c1": OLD})
        store.create(user, messages=said(2), user_id=user)
    vault |= {"alice": {"a2": NEW, "a1": OLD}, "bob": {"b2": NEW, "b1": LOST}}
    assert rotate(store, user_id="bob").sessions == 1
    assert keys_in(held) == {"a1", "b2", "c1"}
    del vault["carol"]
    report = rotate(store)
    assert keys_in(held) == {"a2", "b2", "c1"}
    assert [left.session_id for left in report.left] == ["carol"]
    assert "no key for user 'carol'" in report.left[0].why


def test_over_a_fallback_it_waits_for_the_primary(rotate: Rotate) -> None:
    server = FlakySessionStore()
    fallback = FallbackSessionStore(server, retry_after=0)
    filled(fallback, {"old": OLD}, sessions=1)
    store = both(fallback)
    with server.outage():
        EncryptedSessionStore(fallback, {"old": OLD}).append_message("s0", said(1, 70)[0])
        with pytest.raises(StoreUnavailableError):
            rotate(store)
    assert store.recover()
    assert rotate(store).complete
    assert keys_in(server) == {"new"}
    server.go_down()  # what is remembered is under the new key, too
    assert len(EncryptedSessionStore(fallback, {"new": NEW}).get_messages("s0")) == 6
    server.come_back()


def test_in_an_outage_no_session_is_taken_for_gone(held: Watched) -> None:
    """A fallback knows nothing of them, and the list was read before."""
    filled(held, {"old": OLD}, sessions=5)
    server = FlakySessionStore(held)
    fallback = FallbackSessionStore(server, retry_after=0)

    class Cut(WrapperSessionStore):
        def run(self, operation: Any) -> Any:
            asked.append(type(operation))
            if asked.count(Get) != 2:
                return super().run(operation)
            server.go_down()
            answer = super().run(operation)
            server.come_back()
            fallback.recover()
            return answer

    asked: list[type] = []
    report = both(Cut(fallback)).rotate()
    assert (report.sessions, report.messages, report.complete) == (5, 25, True)
    assert keys_in(held) == {"new"}


def test_a_session_that_the_primary_does_not_answer_for_is_left(held: Watched) -> None:
    """The fallback remembers it as it was before others, with an old key, wrote to it."""
    primary = FaultyStore(held)
    fallback = FallbackSessionStore(primary, retry_after=60, retry_cap=60)
    filled(fallback, {"new": NEW}, sessions=1)
    EncryptedSessionStore(held, {"old": OLD}).append_messages("s0", said(1, 70))
    primary.slow["s0"] = StoreTimeoutError("too slow")
    for _ in range(2):
        report = both(fallback).rotate()
        assert "did not answer" in report.left[0].why
        assert not report.complete


def test_what_waits_in_a_fallback_is_told(held: Watched) -> None:
    """Another session's write may wait, while the primary answers for all else."""

    class Waiting(WrapperSessionStore):
        def stats(self) -> Any:
            stats = super().stats()
            return type(stats)(pending=2)

    filled(held, {"old": OLD}, sessions=1)
    report = both(Waiting(held)).rotate()
    assert (report.pending, report.left, report.complete) == (2, [], False)


def test_one_within_another_is_rotated_apart(held: Watched) -> None:
    within = EncryptedSessionStore(held, {"old": OLD})
    outer = EncryptedSessionStore(within, {"outer 1": LOST})
    outer.create("s", messages=said(3), metadata={"title": "T"})
    outer = EncryptedSessionStore(within, {"outer 2": NEW, "outer 1": LOST})
    report = outer.rotate()
    assert (report.messages, report.values, report.complete) == (3, 1, True)
    outer = EncryptedSessionStore(within, {"outer 2": NEW})
    assert [m.content for m in outer.get_messages("s")] == ["text 0", "text 1", "text 2"]


@pytest.mark.parametrize(("batch", "error"), [(0, InvalidSessionError), ("9", InvalidTypeError)])
def test_a_batch_that_is_none_is_refused(held: Watched, batch: Any, error: Any) -> None:
    with pytest.raises(error, match="batch"):
        both(held).rotate(batch=batch)
    assert held.asked == []


def test_a_store_that_is_closed_ends_it(held: Watched, rotate: Rotate) -> None:
    filled(held, {"old": OLD})
    held.wrapped.close()
    with pytest.raises(Exception, match="closed") as caught:
        rotate(both(held))
    assert not isinstance(caught.value, DecryptionError)


def test_rotation_changes_nothing_that_was_written_in_between(held: Watched) -> None:
    """It swaps what is still as it was read."""
    filled(held, {"old": OLD}, sessions=1, count=3)
    store = both(held)

    def edit(operation: Any) -> None:
        if type(operation) is Reseal and operation.new:
            held.before = lambda _: None
            store.run(ReplaceMessage("s0", SessionMessage("user", "edited", id="m1")))
            store.run(Append("s0", said(1, 9), user_id="alice"))

    held.before = edit
    assert store.rotate().messages == 2
    contents = [message.content for message in store.get_messages("s0")]
    assert contents == ["text 0", "edited", "text 2", "text 9"]
    assert keys_in(held) == {"new"}


def test_what_another_has_put_back_under_the_old_key_is_sealed_anew_too(held: Watched) -> None:
    """It was not swapped, so that it is looked at again: `complete` is said of what is there."""
    filled(held, {"old": OLD}, sessions=1, count=3)
    late = EncryptedSessionStore(held, {"old": OLD})
    writes = [
        lambda: late.update("s0", metadata={"title": "edited"}),
        lambda: late.replace_message("s0", SessionMessage("user", "edited", id="m1")),
    ]

    def edit(operation: Any) -> None:
        if type(operation) is Reseal and writes:
            writes.pop(0)()

    held.before = edit
    report = both(held).rotate()
    assert (report.complete, report.messages, report.values) == (True, 3, 3)
    assert keys_in(held) == {"new"}
    session = both(held).get("s0")
    assert session is not None
    assert (session.metadata["title"], session.messages[1].content) == ("edited", "edited")
