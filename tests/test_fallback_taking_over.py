"""Taking over what others have left: once, as one, and never again."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from test_fallback_faults import Stage, said

from sessionstore import (
    FallbackSessionStore,
    OutageError,
    StoreBusyError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.fallback import queue
from sessionstore.fallback.requests import send
from sessionstore.flow import play
from sessionstore.operations import Delete, Ping, Several


def left_half_done() -> Stage:
    """A dead process has replayed its update, noted that in another journal, and died, too."""
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    stage.store.update("s", metadata={"title": "old"})
    stage.store.append_messages("s", said("b"))
    stage.crash()
    stage.primary.script(None, None, then="down")  # the ping, and the update
    assert not stage.store.recover()
    stage.primary.come_back()
    stage.primary.inner.update("s", metadata={"title": "new"})
    return stage


def is_new(stage: Stage) -> bool:
    data = stage.primary.inner.get("s")
    return data is not None and data.metadata == {"title": "new"}


@pytest.mark.parametrize("step", range(2, 9))
def test_two_processes_that_start_at_once_share_no_session(step: int) -> None:
    stage = left_half_done()
    stage.store._parts.journal.leave()
    others: list[FallbackSessionStore] = []

    def start_another(left: int) -> Callable[[], object]:
        def later() -> None:
            if left:
                stage.fallback.meanwhile = start_another(left - 1)
            else:
                others.append(stage.open())

        return later

    stage.fallback.meanwhile = start_another(step)
    first = stage.open()
    for store in (*others, first):
        assert store.recover()
    assert is_new(stage)
    assert stage.kept() == ["a", "b"]
    assert stage.fallback.inner.list_sessions().sessions == []


def test_what_was_deleted_and_appended_to_may_be_rewritten_in_the_next_process() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    assert stage.store.delete("s")
    stage.store.append_messages("s", said("b"))
    stage.crash()
    stage.store.update("s", messages=said("c"))
    assert stage.seen() == ["c"]
    stage.primary.inner.append_messages("s", said("theirs"))
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["theirs", "c"]


def test_what_was_only_appended_to_may_not_be_rewritten_in_the_next_process() -> None:
    stage = Stage()
    stage.primary.go_down()
    stage.store.append_messages("s", said("a"))
    stage.store.append_messages("s", said("b"))
    stage.crash()
    with pytest.raises(StoreUnavailableError, match="is not known"):
        stage.store.update("s", messages=said("c"))
    assert stage.seen() == ["a", "b"]


@pytest.mark.parametrize("in_an_outage", [False, True])
def test_what_was_only_appended_to_is_deleted_with_all_that_was_before(in_an_outage: bool) -> None:
    stage = Stage()
    stage.primary.inner.append_messages("s", said("old"))
    if in_an_outage:
        stage.primary.go_down()
    stage.store.append_messages("s", said("a"))
    stage.primary.come_back()
    assert stage.store.recover()
    stage.primary.go_down()
    assert stage.store.delete("s")
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.primary.inner.get("s") is None


def test_a_process_that_dies_while_taking_over_leaves_it_to_the_next() -> None:
    stage = left_half_done()
    stage.store._parts.journal.leave()
    stage.fallback.script(None, None, None, None, then="down")
    stage.open()._parts.journal.leave()
    stage.fallback.come_back()
    with stage.open() as store:
        assert store.recover()
    assert is_new(stage)
    assert stage.kept() == ["a", "b"]


def test_a_journal_is_present_until_it_is_deleted() -> None:
    """Somebody looks for what others have left while it is being deleted."""
    stage = left_half_done()
    sweeping, go_on = threading.Event(), threading.Event()

    def slow(_: Delete) -> None:
        sweeping.set()
        assert go_on.wait(30)

    stage.fallback.before[Delete] = slow
    thread = threading.Thread(target=lambda: stage.store.get("s"))
    thread.start()
    assert sweeping.wait(30)
    stage.store.update("s", metadata={"title": "newest"})
    stage.store.recover()
    go_on.set()
    thread.join()
    del stage.fallback.before[Delete]
    assert stage.store.recover()
    assert stage.store.get("s").metadata == {"title": "newest"}


def test_one_caller_at_a_time_searches_for_abandoned_journals() -> None:
    stage = left_half_done()
    seen: list[bool] = []

    def look_too() -> None:
        seen.append(play(stage.store._parts.adopter.adopt(), send))

    stage.fallback.meanwhile = look_too
    assert play(stage.store._parts.adopter.adopt(), send)
    assert seen == [False]
    stage.fallback.meanwhile = lambda: seen.append(stage.store.recover())
    assert play(stage.store._parts.adopter.adopt(), send)
    assert seen[-1] is False  # it can't be told yet that nothing waits


@pytest.mark.parametrize(
    "error", [StoreTimeoutError("no answer"), StoreBusyError("locked"), StoreUnavailableError("?")]
)
def test_a_process_that_can_not_renew_a_journal_acknowledges_nothing_in_it(
    error: StoreUnavailableError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another may have taken it over meanwhile, and be about to delete it."""
    stage = Stage()
    stage.primary.go_down()
    stage.store.append_messages("s", said("a"))
    monkeypatch.setattr(queue, "_LEASE", 0)

    def fails(_: Several) -> None:
        raise error

    stage.fallback.before[Several] = fails
    with pytest.raises(StoreUnavailableError):
        stage.store.append_messages("s", said("b"))
    error = OutageError("its own outage")  # then nobody else can, either
    assert stage.store.append_messages("s", said("c")) == 1
    del stage.fallback.before[Several]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a", "c"]


def test_closing_leaves_its_journals_to_others_whatever_fails() -> None:
    stage = Stage()
    stage.primary.go_down()
    stage.store.append_messages("s", said("a"))

    def broken(_: Ping) -> None:
        raise ValueError("a fault of a store")

    stage.primary.before[Ping] = broken
    stage.primary.come_back()
    with pytest.raises(ValueError, match="a fault"):
        stage.store.close()
    del stage.primary.before[Ping]
    with stage.open() as store:
        assert [write.session_id for write in store.pending()] == ["s"]
        assert store.recover()
    assert stage.kept() == ["a"]
