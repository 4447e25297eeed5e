from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from children import Children
from lighter import Lighter, Shorter
from sqlite_files import crowded, files_of, said, write_lock

from sessionstore import (
    InvalidSessionError,
    SessionMessage,
    SessionStoreError,
    SQLiteSessionStore,
)
from sessionstore.testing import OpenStore, SharedStoreConformance
from sessionstore.testing.appending import AppendContract
from sessionstore.testing.cancelling import CancelContract
from sessionstore.testing.concurrency import ConcurrencyContract
from sessionstore.testing.crowds import CrowdContract
from sessionstore.testing.lifetime import LifetimeContract
from sessionstore.testing.reading import ReadContract
from sessionstore.testing.sessions import SessionContract
from sessionstore.testing.waiting import wait_until


class TestFileConformance(Shorter, SharedStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(SQLiteSessionStore, tmp_path / "sessions.db")


class TestMemoryConformance(
    Lighter,
    SessionContract,
    AppendContract,
    ReadContract,
    ConcurrencyContract,
    CrowdContract,
    CancelContract,
    LifetimeContract,
):
    """What one connection for all threads and loops can do otherwise than one for each."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        return SQLiteSessionStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


# -- In memory ----------------------------------------------------------------------------------


def test_memory_is_one_database_for_all_threads_and_loops() -> None:
    with SQLiteSessionStore(":memory:") as store:

        def write(number: int) -> None:
            asyncio.run(store.aappend_message("s", said(f"async {number}")))
            store.append_message("s", said(f"sync {number}"))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.get_messages("s")) == 8
        assert len(asyncio.run(store.aget_messages("s"))) == 8


def test_each_store_in_memory_has_a_database_of_its_own() -> None:
    with SQLiteSessionStore() as one, SQLiteSessionStore() as other:
        one.create("s")
        assert other.get("s") is None


# -- The way to the data ------------------------------------------------------------------------

AGO, AHEAD = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in (2020, 2300))
STATEMENTS: dict[str, Callable[[SQLiteSessionStore, str | None], Any]] = {
    "create": lambda store, _: store.create(messages=[said("x")]),
    "get": lambda store, _: store.get("s"),
    "get-limit": lambda store, _: store.get("s", limit=2),
    "read": lambda store, _: store.get_messages("s"),
    "read-end": lambda store, _: store.get_messages("s", limit=2, keep_system=True),
    "read-page": lambda store, _: store.get_messages("s", limit=2, before="m3", keep_system=True),
    "append": lambda store, _: store.append_messages("s", [said("x"), said("y", "m1")]),
    "replace": lambda store, _: store.replace_message("s", said("x", "m1")),
    "update": lambda store, _: store.update("s", messages=[said("x")], metadata={"a": 1}),
    "delete": lambda store, _: store.delete("s"),
    "list": lambda store, cursor: store.list_sessions(limit=2, cursor=cursor),
    "list-agent": lambda store, cursor: store.list_sessions(agent_id="a", limit=2, cursor=cursor),
    "list-user": lambda store, cursor: store.list_sessions(user_id="u", limit=2, cursor=cursor),
    "list-both": lambda store, cursor: store.list_sessions(
        agent_id="a", user_id="u", limit=2, cursor=cursor
    ),
    "update-metadata": lambda store, _: store.update("s", metadata={"a": 1}),
    "list-last": lambda store, cursor: store.list_sessions(limit=2, cursor=cursor, last=3),
    "list-last-user": lambda store, cursor: store.list_sessions(
        user_id="u", limit=2, cursor=cursor, last=3
    ),
    "list-between": lambda store, cursor: store.list_sessions(
        limit=2, cursor=cursor, updated_after=AGO, updated_before=AHEAD
    ),
    "list-between-user": lambda store, cursor: store.list_sessions(
        user_id="u", limit=2, cursor=cursor, updated_after=AGO, updated_before=AHEAD
    ),
    "prune": lambda store, _: store.prune_expired(),
}


@pytest.mark.parametrize("use", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_every_statement_uses_an_index(
    use: Callable[[SQLiteSessionStore, str | None], Any],
) -> None:
    with SQLiteSessionStore(retention_days=1) as store:
        for number in range(20):
            messages = [said("x", f"m{place}") for place in range(5)]
            store.append_messages(f"s{number}", messages, agent_id="a", user_id="u")
        store.append_messages("s", [said("x", f"m{place}") for place in range(5)])
        cursor = store.list_sessions(limit=2).cursor
        [connection] = store._database.idle()
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        use(store, None)
        use(store, cursor)
        connection.set_trace_callback(None)
        plans = [plan for statement in statements for plan in plan_of(connection, statement)]
    assert any(plan.startswith("SEARCH") for plan in plans)
    for plan in plans:
        assert not plan.startswith("SCAN"), statements
        assert "TEMP B-TREE" not in plan, statements


READS: dict[str, dict[str, Any]] = {
    "all": {},
    "the last": {"limit": 3},
    "none": {"limit": 0},
    "the last, and the system message": {"limit": 2, "keep_system": True},
    "all, and the system message once": {"before": "m9", "limit": 20, "keep_system": True},
    "before": {"before": "m7", "limit": 4},
    "before, and the system message": {"before": "m4", "limit": 2, "keep_system": True},
    "before the first": {"before": "m0", "keep_system": True, "limit": 2},
    "after": {"after": "m6"},
    "after, some": {"after": "m2", "limit": 3},
    "from the start": {"after": "", "limit": 5},
    "a large one": {"after": "m8", "limit": 2},
}


@pytest.mark.parametrize("options", READS.values(), ids=READS.keys())
def test_a_crowd_reads_in_one_step_what_one_alone_reads_row_by_row(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with SQLiteSessionStore(tmp_path / "sessions.db", synchronous="NORMAL") as store:
        messages = [said(f"{place} \x1e , \x00 é", f"m{place}") for place in range(9)]
        messages[0] = SessionMessage("system", "first", id="m0")
        store.append_messages("s", [*messages, said("x" * 100_000, "m9"), said("y", "m10")])
        alone = store.get_messages("s", **options)
        with crowded(store):
            store.ping()
            [connection] = store._database.idle()
            statements: list[str] = []
            connection.set_trace_callback(statements.append)
            assert store.get_messages("s", **options) == alone
            connection.set_trace_callback(None)
            plans = [plan for one in statements for plan in plan_of(connection, one)]
    assert any("group_concat" in statement for statement in statements)
    assert any(plan.startswith("SEARCH") for plan in plans)
    assert not [plan for plan in plans if "SCAN" in plan and "sessionstore_" in plan], statements
    assert not [plan for plan in plans if "TEMP B-TREE" in plan], statements


def test_a_new_session_is_looked_up_once() -> None:
    with SQLiteSessionStore(retention_days=1) as store:
        store.ping()
        [connection] = store._database.idle()
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        store.append_message("s", said("x"))
        connection.set_trace_callback(None)
    assert sum("WHERE id = " in statement for statement in statements) == 1


def plan_of(connection: sqlite3.Connection, statement: str) -> list[str]:
    if not statement.startswith(("SELECT", "UPDATE", "INSERT", "DELETE")):
        return []
    nothing = [None] * statement.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", nothing)]


# -- Its end ------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[SQLiteSessionStore], Any]] = {
    "create": lambda store: store.create("s"),
    "get": lambda store: store.get("s"),
    "get_messages": lambda store: store.get_messages("s"),
    "append_message": lambda store: store.append_message("s", said("x")),
    "replace_message": lambda store: store.replace_message("s", said("x", "m")),
    "update": lambda store: store.update("s", metadata={}),
    "delete": lambda store: store.delete("s"),
    "list_sessions": lambda store: store.list_sessions(),
    "prune_expired": lambda store: store.prune_expired(),
    "ping": lambda store: store.ping(),
    "aappend_message": lambda store: asyncio.run(store.aappend_message("s", said("x"))),
    "aget_messages": lambda store: asyncio.run(store.aget_messages("s")),
}


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_closed_store_refuses_every_call(
    path: Path, call: Callable[[SQLiteSessionStore], Any], *, used: bool
) -> None:
    store = SQLiteSessionStore(path)
    if used:
        store.append_message("s", said("x", "m"))
        asyncio.run(store.aappend_message("s", said("y")))
    store.close()
    with pytest.raises(SessionStoreError, match="closed"):
        call(store)
    assert path.exists() is used


def test_close_lets_a_running_write_end(path: Path) -> None:
    store = SQLiteSessionStore(path, timeout=30)
    store.create("s")
    with write_lock(path):
        thread = threading.Thread(target=store.append_message, args=("s", said("last")))
        thread.start()
        wait_until(lambda: store._database.in_use() == 1)
        closing = threading.Thread(target=store.close)
        closing.start()
        wait_until(lambda: store._database.closed)
        assert closing.is_alive()
        with pytest.raises(SessionStoreError, match="closed"):
            store.get("s")
    closing.join()
    assert files_of(path) == ["sessions.db"]
    thread.join()
    with SQLiteSessionStore(path) as again:
        assert [message.content for message in again.get_messages("s")] == ["last"]


def test_close_waits_no_longer_than_the_timeout(path: Path) -> None:
    store = SQLiteSessionStore(path, timeout=0.2)
    store.ping()
    call = store._database.call()
    store._database.take(call, write=False)
    store.close()
    assert len(files_of(path)) == 3
    store._database.settle(call)
    assert files_of(path) == ["sessions.db"]


def test_a_store_that_is_dropped_closes_its_file(path: Path) -> None:
    others = set(threading.enumerate())
    store = SQLiteSessionStore(path)
    store.append_message("s", said("x"))
    asyncio.run(store.aappend_message("s", said("x")))
    asyncio.run(store.aget("s"))
    assert files_of(path) == ["sessions.db", "sessions.db-shm", "sessions.db-wal"]
    del store
    gc.collect()
    assert files_of(path) == ["sessions.db"]
    wait_until(
        lambda: not any("sqlite" in thread.name for thread in {*threading.enumerate()} - others)
    )


def test_a_program_that_never_closes_its_store_ends_without_output(path: Path) -> None:
    program = """
        import asyncio, os, sys
        from sessionstore import SessionMessage, SQLiteSessionStore

        def use(path):
            store = SQLiteSessionStore(path)
            store.append_message("s", SessionMessage("user", "x"))
            asyncio.run(store.aappend_message("s", SessionMessage("user", "y")))
            asyncio.run(store.aget("s"))
            return store

        os.dup2(1, 2)
        use(sys.argv[1]), use(":memory:")
        left, memory = use(sys.argv[1]), use(":memory:")
        print(len(left.get_messages("s")))
    """
    with Children() as children:
        assert children.run(program, path) == "4\n"
    assert files_of(path) == ["sessions.db"]


# -- What it is given ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"timeout": -1}, {"timeout": float("nan")}, {"synchronous": "OFF"}]
)
def test_invalid_options_are_refused(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        SQLiteSessionStore(path, **options)


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), True, "1"])
def test_an_invalid_retention_is_refused(path: Path, days: Any) -> None:
    with pytest.raises(InvalidSessionError, match="retention_days"):
        SQLiteSessionStore(path, retention_days=days)


@pytest.mark.parametrize("level", ["FULL", "NORMAL"])
def test_every_connection_has_the_synchronous_level_that_was_given(path: Path, level: Any) -> None:
    with SQLiteSessionStore(path, synchronous=level) as store:
        store.create("s")
        asyncio.run(store.aget("s"))
        found = {row for c in store._database.idle() for row in c.execute("PRAGMA synchronous")}
        assert found == {({"FULL": 2, "NORMAL": 1}[level],)}


@pytest.mark.parametrize("cursor", ["9" * 30 + ".1", "1." + "9" * 30, "-" + "9" * 30 + ".1"])
def test_a_cursor_with_huge_numbers_gives_an_empty_page(path: Path, cursor: str) -> None:
    with SQLiteSessionStore(path) as store:
        assert store.list_sessions(cursor=cursor).sessions == []


def test_deleting_an_expired_session_takes_its_words_from_the_file(path: Path) -> None:
    with SQLiteSessionStore(path, retention_days=1e-9) as store:
        store.append_message("s", said("secret"))
        wait_until(lambda: store.get("s") is None)
        assert store.delete("s") is False
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sessionstore_messages").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM sessionstore_sessions").fetchone() == (0,)


def test_an_expired_session_leaves_no_message_behind(path: Path) -> None:
    with SQLiteSessionStore(path, retention_days=1e-9) as store:
        store.append_message("s", said("old"))
        while store.get("s") is not None:
            pass  # it expires after 86 microseconds
        store.append_message("s", said("new"))
        with closing(sqlite3.connect(path)) as outside:
            [[count]] = outside.execute("SELECT count(*) FROM sessionstore_messages")
    assert count == 1


def test_a_device_is_refused_and_left_unchanged() -> None:
    mode = os.stat(os.devnull).st_mode
    with SQLiteSessionStore(os.devnull) as store, pytest.raises(SessionStoreError, match="no file"):
        store.ping()
    assert os.stat(os.devnull).st_mode == mode


@pytest.mark.parametrize("timeout", [0, 10**10, float("inf")])
def test_a_timeout_may_be_very_short_or_very_long(path: Path, timeout: float) -> None:
    with SQLiteSessionStore(path, timeout=timeout) as store:
        assert store.append_message("s", said("x")) == 1
        assert asyncio.run(store.aappend_message("s", said("x"))) == 1
