from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from itertools import islice

import pytest
from clocks import MachineClock
from instructions import interrupted_at

from sessionstore import (
    InMemorySessionStore,
    SessionMessage,
    memory,
)
from sessionstore._in_memory import recent, session, table
from sessionstore.testing import InterruptContract, OpenStore, SessionStoreConformance
from sessionstore.testing.changes import changes, content


class TestConformance(SessionStoreConformance, InterruptContract):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return InMemorySessionStore


def said(text: str, id: str | None = None) -> SessionMessage:
    return SessionMessage("user", text, id=id)


# -- Ctrl-C ---------------------------------------------------------------------------------------

OURS = [memory, recent, session, table]


def require_consistent(store: InMemorySessionStore) -> None:
    session = store.get("s")
    listed = {info.id: info for info in store.list_sessions().sessions}
    by_agent = {info.id: info for info in store.list_sessions(agent_id="default").sessions}
    assert by_agent == listed
    assert ("s" in listed) == (session is not None)
    if session is not None:
        assert listed["s"].message_count == len(session.messages)
        for place, message in enumerate(session.messages):
            before = store.get_messages("s", before=message.id)
            assert before == session.messages[:place]


@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.soak)])
def test_a_write_that_is_interrupted_anywhere_takes_effect_or_never_will(stride: int) -> None:
    for number, change in enumerate(islice(changes(), 14)):
        for step in range(1 + number % stride, 10_000, stride):
            store = InMemorySessionStore()
            for done in islice(changes(), number):
                getattr(store, done.method)(*done.args, **done.kwargs)
            before = content(store.get("s"))
            try:
                with interrupted_at(step, OURS):
                    getattr(store, change.method)(*change.args, **change.kwargs)
            except KeyboardInterrupt:
                assert content(store.get("s")) in (before, change.outcome(before))
                require_consistent(store)
            else:
                break
        assert step > 20


def test_an_expired_session_that_is_dropped_half_is_gone(machine: MachineClock) -> None:
    for step in range(1, 200):
        store = InMemorySessionStore(retention_days=1)
        store.append_message("s", said("old"), user_id="u")
        machine.let_pass(2)
        try:
            with interrupted_at(step, OURS):
                store.prune_expired()
        except KeyboardInterrupt:
            assert store.get("s") is None
            assert store.list_sessions(user_id="u").sessions == []
            assert store.append_message("s", said("new")) == 1
        else:
            return


# -- Fork -----------------------------------------------------------------------------------------


def in_a_child(work: Callable[[], bool]) -> bool:
    """Tell what a work gives in a child of a fork."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_children_go_on_from_whole_batches_while_threads_write() -> None:
    store = InMemorySessionStore()
    over = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not over.is_set():
            store.append_messages(f"s{writer}", [said(f"{number}") for _ in range(5)])
            if (number := number + 1) % 50 == 0:
                store.delete(f"s{writer}")

    def is_whole() -> bool:
        for session_id in ("s0", "s1"):
            if len(store.get_messages(session_id)) % 5:
                return False
            store.append_message(session_id, said("of the child"))
        return len(store.list_sessions().sessions) == 2

    threads = [threading.Thread(target=write, args=[writer]) for writer in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        assert all(in_a_child(is_whole) for _ in range(20))
    finally:
        sys.setswitchinterval(before)
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_leaves_the_locks_of_parent_and_child_free() -> None:
    stores = [InMemorySessionStore() for _ in range(3)]
    assert in_a_child(lambda: all(s.append_message("s", said("x")) == 1 for s in stores))
    for store in stores:
        assert store.get("s") is None
        assert store.append_message("s", said("x")) == 1


# -- The machine's clock --------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> MachineClock:
    return MachineClock(monkeypatch)


@pytest.mark.parametrize("days", [-2, 2])
def test_a_clock_that_is_set_loses_no_live_session(machine: MachineClock, days: float) -> None:
    store = InMemorySessionStore(retention_days=1)
    store.append_message("before", said("hello"))
    machine.set_ahead(days)
    store.append_message("during", said("hello"))
    assert store.prune_expired() == 0
    machine.set_ahead(0)
    store.append_message("after", said("hello"))
    assert store.prune_expired() == 0
    page = store.list_sessions()
    assert [info.id for info in page.sessions] == ["after", "during", "before"]
    times = [info.updated_at for info in page.sessions]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 3
    assert all(info.created_at == info.updated_at for info in page.sessions)
    for session_id in ("before", "during", "after"):
        assert len(store.get_messages(session_id)) == 1


def test_passing_time_is_not_taken_for_a_clock_that_was_set(machine: MachineClock) -> None:
    store = InMemorySessionStore(retention_days=1)
    store.append_message("old", said("hello"))
    machine.let_pass(0.9)
    store.append_message("new", said("hello"))
    machine.let_pass(0.2)
    assert store.get("old") is None
    assert store.prune_expired() == 0
    assert [info.id for info in store.list_sessions().sessions] == ["new"]


# -- What can't be read ---------------------------------------------------------------------------


def test_a_session_that_cant_be_read_is_left_out_of_lists_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = InMemorySessionStore()
    for session_id in ("a", "damaged", "b"):
        store.create(session_id, metadata={"title": "secret"})
    store._table.sessions["damaged"].metadata = b'{"title": "secret'
    page = store.list_sessions(limit=2)
    assert [info.id for info in page.sessions] == ["b", "a"]
    assert page.cursor is None
    assert "'damaged'" in caplog.text
    assert "secret" not in caplog.text
