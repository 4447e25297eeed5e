"""Erasing a user who was there in an outage: journals, rejected writes, what is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from canary import WORD, files_with, sing

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    SQLiteSessionStore,
    WrapperSessionStore,
)
from sessionstore.operations import Scrub
from sessionstore.testing import FlakySessionStore
from sessionstore.transfer import ErasureReceipt, aerase_user, erase_user

Erase = Callable[..., ErasureReceipt]
SECRET = {"role": "user", "content": WORD}


@pytest.fixture(params=["sync", "async"])
def erase(request: pytest.FixtureRequest) -> Erase:
    if request.param == "sync":
        return erase_user
    return lambda *args, **named: asyncio.run(aerase_user(*args, **named))


@pytest.fixture
def primary(tmp_path: Path) -> FlakySessionStore:
    return FlakySessionStore(SQLiteSessionStore(tmp_path / "primary.db"))


def opened(primary: FlakySessionStore, path: Path) -> FallbackSessionStore:
    file = path / "outage.db"
    return FallbackSessionStore(primary, fallback=SQLiteSessionStore(file), retry_after=0)


@pytest.fixture
def store(primary: FlakySessionStore, tmp_path: Path) -> Iterator[FallbackSessionStore]:
    with opened(primary, tmp_path) as made:
        yield made
        primary.come_back()


def reject(store: FallbackSessionStore, primary: FlakySessionStore, user_id: str | None) -> None:
    """Have a user's write refused: others have made the session meanwhile."""
    number = len(store.rejected())
    primary.go_down()
    store.append_message(f"trip-{number}", SECRET, user_id=user_id)
    primary.come_back()
    primary.wrapped.create(f"trip-{number}", user_id="carol")
    assert store.recover()
    assert len(store.rejected()) == number + 1


def test_what_waits_is_replayed_and_then_erased(
    store: FallbackSessionStore, primary: FlakySessionStore, tmp_path: Path, erase: Erase
) -> None:
    sing(store)
    primary.go_down()
    store.append_message(f"{WORD}-1", SECRET, user_id="alice")
    store.append_message("unseen", SECRET, user_id="alice")
    assert files_with(tmp_path) >= {"outage.db-wal"}
    primary.come_back()
    receipt = erase(store, "alice")
    assert (receipt.sessions, receipt.complete) == (5, True)
    assert files_with(tmp_path) == set()
    primary.go_down()
    assert store.get_messages(f"{WORD}-1") == []
    assert len(store.list_sessions().sessions) == 6


def test_in_an_outage_it_says_what_is_left_and_the_next_run_finishes(
    store: FallbackSessionStore, primary: FlakySessionStore, tmp_path: Path, erase: Erase
) -> None:
    sing(store)
    primary.go_down()
    store.append_message(f"{WORD}-1", SECRET, user_id="alice")
    receipt = erase(store, "alice")
    assert not receipt.complete
    left = {(trace.where, trace.what) for trace in receipt.left}
    assert (repr(store._fallback), "this process's journaled writes") in left
    assert (repr(primary), "what it holds") in left
    assert store.get_messages(f"{WORD}-1", user_id="alice") == []
    primary.come_back()
    again = erase(store, "alice")
    assert again.complete
    assert files_with(tmp_path) == set()


def test_rejected_writes_are_erased_and_others_are_not(
    store: FallbackSessionStore, primary: FlakySessionStore, tmp_path: Path, erase: Erase
) -> None:
    for user_id in ("alice", "bob"):
        reject(store, primary, user_id)
    receipt = erase(store, "alice")
    assert receipt.complete
    assert [t.erased for t in receipt.traces if t.what == "rejected writes"] == [1]
    assert [write.operation.user_id for write in store.rejected() if write.operation] == ["bob"]
    assert erase(store, "bob").complete
    assert store.rejected() == []
    assert files_with(tmp_path) == set()


def test_what_another_wrote_to_a_session_of_the_user_stays(
    store: FallbackSessionStore, primary: FlakySessionStore, erase: Erase
) -> None:
    # To Carol's session, by Bob: it is Bob's.
    reject(store, primary, "bob")
    assert erase(store, "carol").sessions == 1
    assert len(store.rejected()) == 1


def test_what_another_process_has_waiting_is_told_and_erased_after_its_replay(
    store: FallbackSessionStore, tmp_path: Path, erase: Erase
) -> None:
    sing(store)
    away = FlakySessionStore(SQLiteSessionStore(tmp_path / "primary.db"))
    with opened(away, tmp_path) as other:  # as in another process: a circuit of its own
        away.go_down()
        other.append_message("others", SECRET, user_id="alice")
        receipt = erase(store, "alice")
        assert receipt.sessions == 4
        [left] = receipt.left
        assert left.what == "other processes' journaled writes"
        assert left.left >= 1
        away.come_back()
        assert other.recover()
        again = erase(store, "alice")
        assert (again.sessions, again.complete) == (1, True)
        assert files_with(tmp_path) == set()


def test_a_user_s_own_view_of_a_session_is_erased_with_the_journal(
    store: FallbackSessionStore, primary: FlakySessionStore
) -> None:
    primary.go_down()
    for user_id in ("bob", "alice"):
        store.append_message("shared", {**SECRET, "id": user_id}, user_id=user_id)
    primary.come_back()
    receipt = erase_user(store, "alice")
    assert receipt.complete  # it was refused, as Bob was first: that is erased, too
    assert store.rejected() == []
    assert [m.id for m in store.get_messages("shared")] == ["bob"]


def test_nested_fallbacks_are_erased_to_the_last_file(tmp_path: Path, erase: Erase) -> None:
    first = FlakySessionStore(SQLiteSessionStore(tmp_path / "primary.db"))
    second = SQLiteSessionStore(tmp_path / "second.db")
    inner = FallbackSessionStore(second, fallback=SQLiteSessionStore(tmp_path / "third.db"))
    with FallbackSessionStore(first, fallback=inner, retry_after=0) as store:
        sing(store)
        first.go_down()
        store.append_message(f"{WORD}-1", SECRET, user_id="alice")
        assert "second.db-wal" in files_with(tmp_path)
        first.come_back()
        assert erase(store, "alice").complete
        assert files_with(tmp_path) == set()


def test_wrappers_hand_it_on(store: FallbackSessionStore, tmp_path: Path, erase: Erase) -> None:
    class Counting(WrapperSessionStore):
        scrubs = 0

        def run(self, operation: Any) -> Any:
            self.scrubs += isinstance(operation, Scrub)
            return super().run(operation)

        async def arun(self, operation: Any) -> Any:
            self.scrubs += isinstance(operation, Scrub)
            return await super().arun(operation)

    sing(store)
    outer = Counting(WrapperSessionStore(store))
    assert erase(outer, "alice").complete
    assert outer.scrubs == 2
    assert files_with(tmp_path) == set()


def test_what_can_not_be_read_in_a_journal_is_told(
    primary: FlakySessionStore,
) -> None:
    fallback = InMemorySessionStore()
    with FallbackSessionStore(primary, fallback=fallback, retry_after=0) as store:
        odd = SessionMessage("write", "{", id="odd")
        fallback.append_message("sessionstore:rejected", odd)
        receipt = erase_user(store, "alice")
        assert not receipt.complete
        assert "rejected()" in receipt.left[0].why
