"""What was replayed is noted before anything newer goes past it: no crash brings it back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faults import FaultyStore, Killed
from servers.process import wait_until
from test_fallback_faults import Stage, said

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SQLiteSessionStore,
    StoreUnavailableError,
)
from sessionstore.fallback import journal_form, journal_owners
from sessionstore.operations import Delete
from sessionstore.testing.interrupts import ctrl_c, in_a_thread


def journaled(*, alone: bool = False) -> Stage:
    """A stage whose primary is back, and whose journal holds an update and an append."""
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    stage.store.update("s", metadata={"title": "old"})
    if not alone:
        stage.store.append_messages("s", said("b"))
    stage.primary.come_back()
    return stage


def at_the_first_write(stage: Stage, step: Callable[[], object]) -> None:
    """Do something before the primary is asked to take what is replayed: after the ping."""
    stage.primary.afterwards = lambda: setattr(stage.primary, "meanwhile", step)


def is_as_acknowledged(stage: Stage) -> None:
    """After a crash, the primary holds what it did before."""
    before = stage.primary.inner.get("s")
    stage.crash()
    assert stage.store.recover()
    after = stage.primary.inner.get("s")
    assert before is not None
    assert after is not None
    assert (after.metadata, after.messages) == (before.metadata, before.messages)
    assert stage.store.pending() == []


@pytest.mark.parametrize("fault", ["killed", "killed after", "lost", "late"])
def test_a_write_that_fails_in_the_journal_during_a_replay_is_not_replayed(fault: str) -> None:
    stage = journaled()

    def cancelled() -> None:
        stage.fallback.script(fault)
        with suppress(Killed, StoreUnavailableError):
            stage.store.append_messages("s", said("c"))
        stage.fallback.come_back()

    at_the_first_write(stage, cancelled)
    stage.store.get("s")
    assert stage.store.recover()
    stage.store.update("s", metadata={"title": "new"})
    assert stage.store.delete_messages("s", ["b"]) == ["b"]
    stage.fallback.arrive()
    is_as_acknowledged(stage)


@pytest.mark.parametrize("alone", [False, True])
def test_a_note_that_can_not_be_written_holds_its_session_back(alone: bool) -> None:
    stage = journaled(alone=alone)
    at_the_first_write(stage, stage.fallback.go_down)
    assert not stage.store.recover()
    assert not stage.store.is_degraded()
    for _ in range(3):  # what went past it now would be undone by a crash
        with pytest.raises(StoreUnavailableError):
            stage.store.update("s", metadata={"title": "new"})
    assert stage.primary.inner.get("s").metadata == {"title": "old"}
    assert stage.seen() == (["a"] if alone else ["a", "b"])
    assert stage.store.append_messages("other", said("x")) == 1  # it harms itself alone
    assert not stage.store.recover()
    stage.fallback.come_back()
    stage.store.update("s", metadata={"title": "new"})
    assert stage.store.recover()
    assert stage.store.get("s").metadata == {"title": "new"}
    is_as_acknowledged(stage)


def test_what_is_replayed_in_passing_is_noted_before_its_session_is_let_go() -> None:
    stage = journaled(alone=True)
    stage.store.get("other")  # ends the outage, and replays one batch
    assert stage.primary.inner.get("s").metadata == {"title": "old"}
    stage.primary.inner.update("s", metadata={"title": "new"})  # another process
    is_as_acknowledged(stage)


def test_a_note_that_could_not_be_written_is_written_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = journaled()
    at_the_first_write(stage, stage.fallback.go_down)
    assert not stage.store.recover()
    stage.fallback.come_back()
    stage.store.close()
    assert stage.fallback.inner.list_sessions(agent_id=journal_form.JOURNALS).sessions == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_closing_without_the_note_of_a_replay_is_logged_as_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = journaled()
    at_the_first_write(stage, stage.fallback.go_down)
    assert not stage.store.recover()
    stage.store.close()
    assert "could note what was replayed" in caplog.text


def test_a_journal_that_is_never_deleted_is_not_replayed_again() -> None:
    stage = journaled()

    def refuse(_: Delete) -> None:
        raise StoreUnavailableError("the store is down")

    stage.fallback.before[Delete] = refuse
    assert stage.store.recover()
    stage.store.update("s", metadata={"title": "new"})
    assert stage.store.delete_messages("s", ["b"]) == ["b"]
    is_as_acknowledged(stage)
    del stage.fallback.before[Delete]
    is_as_acknowledged(stage)


# -- What an interrupted caller was not promised ---------------------------------------------


def test_a_write_interrupted_in_the_journal_is_not_replayed() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    stage.fallback.script("killed after")
    with pytest.raises(Killed):
        stage.store.append_messages("s", said("b"))
    assert stage.seen() == ["a"]
    stage.crash()
    assert stage.store.pending() == []
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a"]


class _Answers(FaultyStore):
    """Does what it is asked, and keeps its answers back."""

    def __init__(self) -> None:
        super().__init__(InMemorySessionStore())
        self.holds = False
        self.held = asyncio.Event()

    async def arun(self, operation: Any) -> Any:
        result = await super().arun(operation)
        if self.holds:
            self.holds = False
            self.held.set()
            await asyncio.Event().wait()
        return result


@pytest.mark.parametrize("times", [1, 3])
def test_a_write_cancelled_in_the_journal_is_not_replayed(times: int) -> None:
    primary = FaultyStore(InMemorySessionStore())

    async def main() -> FaultyStore:
        fallback = _Answers()
        store = FallbackSessionStore(primary, fallback=fallback, retry_after=0)
        await store.aappend_messages("s", said("a"))
        primary.go_down()
        await store.aget("s")
        fallback.holds = True
        writing = asyncio.ensure_future(store.aupdate("s", metadata={"x": 1}))
        await fallback.held.wait()
        for _ in range(times):
            writing.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([writing])
        assert writing.cancelled()
        assert (await store.aget("s")).metadata == {}
        store._parts.journal.leave()  # killed
        return fallback

    fallback = asyncio.run(main())
    with FallbackSessionStore(primary, fallback=fallback, retry_after=0) as again:
        assert again.pending() == []
        primary.come_back()
        assert again.recover()
    assert primary.inner.get("s").metadata == {}


# -- A fork ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_never_replays_what_its_parent_journaled(tmp_path: Path) -> None:
    """Its copy of a journal in memory is out of date as soon as the parent goes on."""
    path = tmp_path / "primary.db"
    result, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        _fork_in_an_outage(path, writing)
    os.close(writing)
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == 0
    assert os.read(result, 100) == b"True []"  # the child's, which outlives its parent
    os.close(result)
    with SQLiteSessionStore(path) as itself:
        data = itself.get("s")
        assert data is not None
        assert ([m.id for m in data.messages], data.metadata) == (["a"], {"title": "new"})


def _fork_in_an_outage(path: Path, writing: int) -> None:
    primary = FaultyStore(SQLiteSessionStore(path))
    store = FallbackSessionStore(primary, retry_after=0)
    store.append_messages("s", said("a"))
    store.get("s")
    primary.go_down()
    store.update("s", metadata={"title": "old"})
    store.append_messages("s", said("b"))
    parent = os.getpid()
    if os.fork() == 0:
        wait_until(lambda: not journal_owners._runs(parent), "the parent is gone")
        primary.come_back()
        recovered = store.recover()
        os.write(writing, f"{recovered} {store.pending()}".encode())
        os._exit(0)
    primary.come_back()
    store.recover()
    store.update("s", metadata={"title": "new"})
    store.delete_messages("s", ["b"])
    os._exit(0)


# -- Ctrl-C ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no timer that interrupts")
def test_ctrl_c_at_any_moment_of_an_outage_loses_no_acknowledged_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was acknowledged is replayed, what was not is there whole or not at all."""
    caplog.set_level(
        "CRITICAL", "sessionstore"
    )  # logging keeps its own lock where it is broken off
    stage = Stage(max_messages=10_000)
    acknowledged: list[str] = []
    batch: list[str] = []

    def append() -> None:
        stage.store.append_messages("s", said(*batch))
        acknowledged.extend(batch)

    with ctrl_c() as during:
        stage.store.append_messages("s", said("a"))
        for number in range(400):
            if number % 8 == 0:
                stage.primary.go_down()
            if number % 8 == 6:
                stage.primary.come_back()
            batch = [f"{number} {n}" for n in range(3)]
            during((number % 40) * 5e-6, append)
            before = in_a_thread(stage.seen)
            assert {*acknowledged} <= {*before}
            assert sum(one in before for one in batch) in (0, 3)
            assert stage.store.stats().pending == len(stage.store.pending())
    stage.primary.come_back()
    wait_until(stage.store.recover, "all is replayed")
    kept = stage.kept()
    assert {*acknowledged} <= {*kept}
    assert stage.seen() == kept
    assert len(kept) == len({*kept})
    assert [one for one in kept if one in acknowledged] == acknowledged
    assert (stage.store.pending(), stage.store._parts.cache.pinned()) == ([], [])
    assert not stage.store._parts.journal._queues
    stage.primary.asked.clear()
    stage.store.append_messages("s", said("last"))
    assert stage.primary.asked == [("Append", "s")]
