from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_files import outside, said

from sessionstore import SQLiteSessionStore
from sessionstore._runtime.clock import Clock, wall_microseconds
from sessionstore.sqlite import sessions

DAY = 86_400_000_000


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the wall clock, as somebody sets the machine's."""
    clock = Clock()
    monkeypatch.setattr(sessions, "clock", clock)

    def set_clock(ahead: int) -> None:
        clock.wall = lambda: wall_microseconds() + ahead

    return set_clock


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteSessionStore]:
    with SQLiteSessionStore(tmp_path / "sessions.db", retention_days=1) as store:
        yield store


def pages(store: SQLiteSessionStore, between: Any = lambda: None) -> list[str]:
    page = store.list_sessions(limit=2, agent_id="default")
    found = [info.id for info in page.sessions]
    while page.cursor:
        between()
        page = store.list_sessions(limit=2, cursor=page.cursor, agent_id="default")
        found += [info.id for info in page.sessions]
    return found


def test_lists_are_newest_first_whatever_the_clock_does(
    store: SQLiteSessionStore, set_clock: Any
) -> None:
    order = []
    for number, ahead in enumerate([0, DAY // 2, -DAY // 2, 0, 3, -DAY // 4, 0]):
        set_clock(ahead)
        store.create(f"s{number}")
        order.insert(0, f"s{number}")
        assert pages(store) == order
    set_clock(-DAY // 2)
    before = store.append_message("s3", said("x"))
    assert before == 1
    assert pages(store) == ["s3", *(name for name in order if name != "s3")]
    times = [info.updated_at for info in store.list_sessions().sessions]
    assert times == sorted(set(times), reverse=True)


def test_no_session_is_on_two_pages_when_the_clock_is_set_back(
    store: SQLiteSessionStore, set_clock: Any
) -> None:
    for number in range(8):
        store.create(f"s{number}")

    def touch_the_last() -> None:
        set_clock(-DAY // 2)
        store.append_message("s7", said("x"))

    found = pages(store, touch_the_last)
    assert sorted(found) == [f"s{number}" for number in range(8)]


def test_lists_are_newest_first_though_another_writers_clock_is_ahead(
    store: SQLiteSessionStore,
) -> None:
    for session_id in ("ahead", "mine"):
        store.create(session_id)
    later = time.time_ns() // 1000 + 2 * DAY
    with outside(Path(store._path)) as connection:
        connection.execute(
            "UPDATE sessionstore_sessions SET updated_at = ? WHERE id = 'ahead'", [later]
        )
    store.append_message("mine", said("x"))
    assert pages(store) == ["mine", "ahead"]


@pytest.mark.parametrize("ahead", [2 * DAY, 1000 * DAY])
def test_a_clock_that_jumps_ahead_loses_no_live_session(
    store: SQLiteSessionStore, set_clock: Any, ahead: int
) -> None:
    store.append_message("s", said("x"))
    set_clock(ahead)
    assert store.prune_expired() == 0
    assert store.get("s") is not None
    assert pages(store) == ["s"]
    assert store.append_message("s", said("y")) == 1
    set_clock(0)
    assert store.prune_expired() == 0
    assert len(store.get_messages("s")) == 2


def test_an_expired_session_is_gone_whatever_the_clock_does(store: SQLiteSessionStore) -> None:
    store.create("old")
    store.create("s")
    with outside(Path(store._path)) as connection:
        connection.execute(
            "UPDATE sessionstore_sessions SET updated_at = updated_at - ? WHERE id = 'old'",
            [DAY + 1_000_000],
        )
    assert store.get("old") is None
    assert pages(store) == ["s"]
    assert store.prune_expired() == 1
