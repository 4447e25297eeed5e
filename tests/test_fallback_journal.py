"""The fallback's journal: one order, what arrives late, and who replays it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from faults import Killed
from test_fallback_faults import Stage, kinds, said

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SQLiteSessionStore,
    StoreUnavailableError,
)
from sessionstore.fallback import journal_form, journal_owners, obsolete, queue
from sessionstore.operations import Delete


def down() -> Stage:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    return stage


def is_kept(stage: Stage, expected: list[str]) -> None:
    """What is seen in the outage is seen after a crash, and replayed so."""
    assert stage.seen() == expected
    stage.crash()
    assert stage.seen() == expected
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == expected


# -- One order ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "fault"),
    [
        ("meanwhile", None),
        ("afterwards", None),
        ("afterwards", "killed after"),  # the other one has seen that it is there
        ("afterwards", "lost"),
    ],
)
def test_two_concurrent_writes_are_read_in_the_order_of_the_journal(
    fault: str | None, when: str
) -> None:
    stage = down()
    setattr(stage.fallback, when, lambda: stage.store.append_messages("s", said("c")))
    stage.fallback.script(fault)
    with suppress(Killed):
        assert stage.store.append_messages("s", said("b")) == 1
    is_kept(stage, ["a", "b", "c"] if when == "afterwards" else ["a", "c", "b"])


@pytest.mark.parametrize("fault", ["killed after", "lost"])
def test_a_failed_write_does_not_come_back_before_a_later_one(fault: str) -> None:
    stage = down()

    def fail() -> None:
        stage.fallback.script(fault)
        with suppress(Killed, StoreUnavailableError):
            stage.store.append_messages("s", said("b"))
        stage.fallback.come_back()

    stage.fallback.meanwhile = fail
    stage.store.append_messages("s", said("c"))
    is_kept(stage, ["a", "c"])


def test_a_refused_write_is_voided_before_a_later_one_is_seen() -> None:
    stage = down()
    stage.fallback.meanwhile = lambda: stage.store.update("s", metadata={"n": 1})
    stage.store.update("s", metadata={"n": 2})
    stage.store.append_messages("s", said("b"))
    stage.crash()
    assert stage.store.get("s").metadata == {"n": 2}
    assert kinds(stage) == ["update", "update", "append"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.primary.inner.get("s").metadata == {"n": 2}


def test_many_tasks_at_once_have_one_order(tmp_path: Path) -> None:
    stage = down()
    file = SQLiteSessionStore(tmp_path / "outage.db", synchronous="NORMAL")
    stage.fallback.inner = file

    async def main() -> None:
        texts = [[f"{task} {number}" for number in range(4)] for task in range(16)]

        async def write(mine: list[str]) -> None:
            for text in mine:
                await stage.store.aappend_messages("s", said(text))

        await asyncio.gather(*map(write, texts))

    asyncio.run(main())
    assert len(stage.seen()) == 65
    is_kept(stage, stage.seen())
    file.close()


# -- What arrives late -------------------------------------------------------------------------


def test_a_write_that_arrives_after_the_replay_does_not_restore_a_deleted_session() -> None:
    stage = down()
    stage.fallback.script("late")
    with pytest.raises(StoreUnavailableError):
        stage.store.append_messages("s", said("b"))
    stage.store.append_messages("s", said("c"))
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a", "c"]
    assert stage.store.delete("s")
    stage.fallback.arrive()
    stage.crash()
    assert stage.store.pending() == []
    assert stage.store.recover()
    assert stage.primary.inner.get("s") is None
    assert stage.fallback.inner.list_sessions().sessions == []


def test_a_write_that_arrives_late_in_the_journal_counts_for_nothing() -> None:
    stage = down()
    stage.fallback.script("late")
    with pytest.raises(StoreUnavailableError):
        stage.store.append_messages("s", said("b"))
    stage.fallback.arrive()
    stage.store.append_messages("s", said("c"))
    is_kept(stage, ["a", "c"])


def test_a_journal_with_a_late_write_holds_none_that_was_replayed() -> None:
    stage = down()
    stage.store.update("s", metadata={"title": "old"})
    stage.fallback.script("late")
    with pytest.raises(StoreUnavailableError):
        stage.store.append_messages("s", said("b"))
    stage.primary.come_back()
    assert stage.store.recover()
    stage.primary.inner.update("s", metadata={"title": "new"})
    stage.fallback.arrive()
    stage.crash()
    assert stage.store.recover()
    assert stage.primary.inner.get("s").metadata == {"title": "new"}
    assert stage.kept() == ["a"]


def test_a_journal_that_could_not_be_deleted_is_not_replayed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(obsolete, "_REST", 0)
    stage = down()
    stage.store.update("s", metadata={"title": "old"})
    stage.primary.come_back()
    stage.fallback.script("down")
    assert stage.store.recover()
    stage.store.update("s", metadata={"title": "new"})
    stage.crash()
    assert stage.store.pending() == []
    assert stage.store.recover()
    assert stage.store.get("s").metadata == {"title": "new"}


# -- Who replays it --------------------------------------------------------------------------


@pytest.fixture
def taken_over(monkeypatch: pytest.MonkeyPatch) -> tuple[Stage, FallbackSessionStore]:
    """A store that lives, and another that took it for gone: as on two hosts."""
    monkeypatch.setattr(queue, "_LEASE", 0)
    stage = down()
    stage.store.update("s", metadata={"title": "ours"})
    stage.store.append_messages("s", said("b"))
    journal_owners.leave(stage.store._parts.journal.owner)
    return stage, stage.open()


def test_a_refused_write_is_not_taken_for_the_state_of_the_session() -> None:
    """Its journal may be left, from before what others and this process put into the primary."""
    stage = down()
    stage.fallback.script("lost")
    with suppress(StoreUnavailableError):
        stage.store.append_messages("s", said("b"))
    for one in ("c", "d"):
        stage.store.append_messages("s", said(one))
    stage.primary.come_back()
    assert stage.store.recover()
    expected = stage.kept()
    stage.primary.go_down()
    stage.store.append_messages("s", said("e"))
    is_kept(stage, [*expected, "e"])


def test_writes_replayed_before_several_crashes_are_not_replayed_again() -> None:
    """Word of it is in a journal without writes, younger than the one that it is about."""
    stage = down()
    stage.store.update("s", metadata={"title": "old"})
    stage.store.append_messages("s", said("b"))
    stage.crash()
    stage.primary.script(None, None, then="down")  # to ask whether it is there, and the first write
    assert not stage.store.recover()
    [left] = stage.store.pending()
    for _ in range(3):
        stage.primary.inner.update("s", metadata={"title": "new"})
        stage.crash()
        assert stage.store.pending() == [left]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == stage.seen() == ["a", "b"]
    assert stage.primary.inner.get("s").metadata == {"title": "new"}
    assert not stage.fallback.inner.list_sessions(agent_id=journal_form.JOURNALS).sessions


def test_the_note_of_a_replay_stays_as_long_as_a_journal_that_can_not_be_deleted() -> None:
    stage = down()
    stage.store.update("s", metadata={"title": "old"})
    stage.store.append_messages("s", said("b"))
    [first] = stage.fallback.inner.list_sessions(agent_id=journal_form.JOURNALS).sessions
    stage.crash()
    stage.primary.script(None, None, then="down")
    assert not stage.store.recover()
    stage.primary.come_back()

    def refuse_one(delete: Delete) -> None:
        if delete.session_id == first.id:
            raise StoreUnavailableError("the store is down")

    stage.fallback.before[Delete] = refuse_one
    for _ in range(2):
        assert stage.store.recover()
    stage.primary.inner.update("s", metadata={"title": "new"})
    stage.crash()
    assert stage.store.recover()
    assert stage.primary.inner.get("s").metadata == {"title": "new"}


def test_writes_replayed_by_another_process_are_not_replayed_again(
    taken_over: tuple[Stage, FallbackSessionStore], caplog: pytest.LogCaptureFixture
) -> None:
    stage, other = taken_over
    stage.primary.come_back()
    assert other.recover()
    other.update("s", metadata={"title": "new"})
    other.delete_messages("s", ["b"])
    assert stage.store.recover()
    assert stage.primary.inner.get("s").metadata == {"title": "new"}
    assert (stage.kept(), stage.seen(), stage.store.pending()) == (["a"], ["a"], [])
    assert "2 writes" in caplog.text


def test_writes_after_another_has_taken_over_are_replayed_too(
    taken_over: tuple[Stage, FallbackSessionStore],
) -> None:
    stage, other = taken_over
    stage.store.append_messages("s", said("c"))
    assert stage.seen() == ["a", "b", "c"]
    assert kinds(stage) == ["append"]
    stage.primary.come_back()
    assert other.recover()
    assert stage.store.recover()
    assert stage.kept() == stage.seen() == ["a", "b", "c"]
    assert stage.fallback.inner.list_sessions().sessions == []


def test_a_journal_that_is_still_ours_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_LEASE", 0)
    stage = down()
    for text in "bcd":
        stage.store.append_messages("s", said(text))
    stage.crash()
    stage.store.append_messages("s", said("e"))
    is_kept(stage, ["a", "b", "c", "d", "e"])


def test_lost_ownership_is_noticed_in_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the owner's look and its claim, another takes over."""
    monkeypatch.setattr(queue, "_LEASE", 0)
    stage = down()
    stage.store.append_messages("s", said("b"))
    others: list[FallbackSessionStore] = []

    def take_over() -> None:
        stage.store._parts.journal.leave()
        others.append(stage.open())

    stage.primary.come_back()
    stage.fallback.afterwards = take_over
    assert stage.store.recover()
    assert stage.kept() == ["a"]
    [other] = others
    assert other.recover()
    assert stage.kept() == ["a", "b"]
    stage.store.get("s")
    assert stage.seen() == ["a", "b"]


def test_a_failing_fallback_is_not_taken_for_a_failing_primary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "_LEASE", 0)
    stage = down()
    stage.store.append_messages("s", said("b"))
    stage.primary.come_back()
    stage.fallback.go_down()
    assert not stage.store.recover()
    assert not stage.store.is_degraded()
    assert stage.seen() == ["a", "b"]
    stage.fallback.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a", "b"]


def test_a_fallback_in_an_outage_of_its_own_refuses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "_LEASE", 0)
    backup = Stage(InMemorySessionStore())
    stage = Stage()
    stage.fallback.inner = backup.store
    stage.primary.go_down()
    backup.primary.go_down()
    for text in "abc":
        assert stage.store.append_messages("s", said(text)) == 1
    assert stage.seen() == ["a", "b", "c"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a", "b", "c"]
