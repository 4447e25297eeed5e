"""Leases in an SQLite file: of both of its stores, across restarts, clocks that are set, damage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from children import Children
from clocks import DAY, SECOND, MachineClock
from sqlite_files import outside, said
from warm import Warm

from sessionstore import (
    DbSessionStore,
    SessionLeasedError,
    SessionStore,
    SqliteAgentDb,
    SQLiteSessionStore,
)
from sessionstore._runtime.boots import boot_id
from sessionstore._runtime.clock import clock, wall_microseconds
from sessionstore.operations import AcquireLease, Append, Fence, ReleaseLease, RenewLease
from sessionstore.sql import leases as sql_leases
from sessionstore.sqlite import leases

KINDS = ["SQLiteSessionStore", "DbSessionStore"]
each_kind = pytest.mark.parametrize("kind", KINDS)
TABLE = "sessionstore_leases"


@contextmanager
def opened(kind: str, path: Path, **options: Any) -> Iterator[SessionStore]:
    """Open a file by one of the two stores that take it."""
    if kind == "SQLiteSessionStore":
        with SQLiteSessionStore(path, **options) as store:
            yield store
        return
    with SqliteAgentDb(path) as db:
        yield DbSessionStore(db, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def require_lost(store: SessionStore, token: int) -> None:
    for late in (Fence("s", token), RenewLease("s", token), [Fence("s", token), Append("s", [])]):
        with pytest.raises(SessionLeasedError):
            store.run(late)


@each_kind
def test_a_file_of_an_older_release_is_given_the_table(kind: str, path: Path) -> None:
    with SQLiteSessionStore(path) as store:
        store.append_message("s", said("x", "m0"))
    with outside(path) as connection:
        connection.execute(f"DROP TABLE {TABLE}")
        with opened(kind, path) as store:
            assert len(store.get_messages("s")) == 1
            with store.lease("s") as lease:
                assert store.append_message("s", said("x"), lease=lease) == 1
        assert connection.execute("SELECT version FROM sessionstore_schema").fetchall() == [(1,)]
        found = "SELECT count(*) FROM sqlite_master WHERE tbl_name = 'sessionstore_leases'"
        assert connection.execute(found).fetchone() == (3,)  # with the indexes


def test_both_stores_of_a_file_know_the_same_leases(path: Path) -> None:
    with opened(KINDS[0], path) as one, opened(KINDS[1], path) as two:
        tokens = []
        for first, second in ((one, two), (two, one)):
            with first.lease("s") as lease:
                tokens.append(lease.token)
                with pytest.raises(SessionLeasedError):
                    second.lease("s").__enter__()
                second.run([Fence("s", lease.token), Append("s", [said("x")])])
                second.run(RenewLease("s", lease.token))
                taken = second.run(AcquireLease("s", take_over=True, holder="other"))
                tokens.append(taken)
                require_lost(first, lease.token)
                assert first.run(ReleaseLease("s", "other"))
        assert sorted(tokens) == tokens


@each_kind
def test_a_lease_of_an_earlier_start_of_the_machine_has_run_out(kind: str, path: Path) -> None:
    with opened(kind, path) as store:
        token = store.run(AcquireLease("s", 3600, holder="me"))
        for boot in ("'another'", "NULL"):
            with outside(path) as connection:
                connection.execute(f"UPDATE sessionstore_leases SET boot = {boot}")
            require_lost(store, token)
            assert not store.run(ReleaseLease("s", "me"))
            later = store.run(AcquireLease("s", 3600, holder="me"))
            assert later > token
            token = later


@each_kind
def test_the_wall_clock_changes_no_lease(
    kind: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = MachineClock(monkeypatch)
    with opened(kind, path) as store:
        token = store.run(AcquireLease("s", 3600, holder="me"))
        for days in (-400, 400, 0, -1):
            machine.set_ahead(days)
            store.run([Fence("s", token), Append("s", [said("x")])])
            with pytest.raises(SessionLeasedError):
                store.run(AcquireLease("s"))
            assert store.run(AcquireLease("s", 3600, holder="me")) == token
            assert store.prune_expired() == 0
        assert store.run(AcquireLease("s", take_over=True)) == token + 1
        machine.let_pass(0.5)
        assert store.run(AcquireLease("s")) == token + 2


@each_kind
def test_leases_that_ended_long_ago_are_pruned(
    kind: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = MachineClock(monkeypatch)
    with opened(kind, path) as store, outside(path) as connection:

        def left() -> list[str]:
            return [row[0] for row in connection.execute(f"SELECT session_id FROM {TABLE}")]

        for name in ("released", "ended", "restarted", "renewed", "ahead"):
            token = store.run(AcquireLease(name, 60, holder="me"))
        connection.execute(f"UPDATE {TABLE} SET boot = 'x' WHERE session_id = 'restarted'")
        connection.execute(f"UPDATE {TABLE} SET token = ? WHERE session_id = 'ahead'", (2**60,))
        store.run(ReleaseLease("released", "me"))
        machine.let_pass(0.0005)
        store.run(AcquireLease("renewed", 86_400, holder="me"))
        machine.let_pass(0.9)
        assert store.prune_expired() == 0
        assert len(left()) == 5
        machine.let_pass(0.2)
        assert store.prune_expired() == 0
        assert sorted(left()) == ["ahead", "renewed"]
        assert store.run(AcquireLease("ended")) > token


@each_kind
def test_many_leases_are_pruned(kind: str, path: Path) -> None:
    with opened(kind, path, retention_days=1) as store, outside(path) as connection:
        store.ping()
        rows = [(f"s{n}", n, "", 0, boot_id()) for n in range(2100)]
        connection.execute("BEGIN")
        connection.executemany(f"INSERT INTO {TABLE} VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        long_ago = clock.steady() - DAY - SECOND
        connection.execute(f"UPDATE {TABLE} SET ends_at = ?", (long_ago,))
        assert store.prune_expired() == 0
        assert connection.execute(f"SELECT count(*) FROM {TABLE}").fetchone() == (0,)


@each_kind
@pytest.mark.parametrize("column", ["token", "holder", "ends_at", "boot"])
@pytest.mark.parametrize(
    "value", ["'text'", "x'ff'", "CAST(x'ff' AS TEXT)", "-1.5", f"{2**63 - 1}"]
)
def test_a_damaged_row_is_no_lease_that_somebody_has(
    kind: str, path: Path, column: str, value: str
) -> None:
    """It may be taken, or is another's until it is taken over: nothing fails for good."""
    with opened(kind, path) as store, outside(path) as connection:
        token = store.run(AcquireLease("s", holder="me"))
        connection.execute(f"UPDATE {TABLE} SET {column} = {value}")
        if column != "holder":
            require_lost(store, token)
        store.prune_expired()
        taken = store.run(AcquireLease("s", take_over=True, holder="you"))
        assert taken >= token
        store.run([Fence("s", taken), Append("s", [said("x")])])
        assert abs(taken - wall_microseconds()) < DAY or column == "token"


@each_kind
def test_a_system_that_names_no_start_tells_by_the_time(
    kind: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end that is further ahead than a lease can last is of an earlier start."""
    for module in (leases, sql_leases):
        monkeypatch.setattr(module, "boot_id", str)
    with opened(kind, path) as store:
        token = store.run(AcquireLease("s", 86_400))
        with pytest.raises(SessionLeasedError):
            store.run(AcquireLease("s"))
        store.run([Fence("s", token), Append("s", [said("x")])])
        with outside(path) as connection:
            connection.execute(f"UPDATE {TABLE} SET ends_at = ends_at + ?", (2 * DAY,))
        require_lost(store, token)
        assert store.run(AcquireLease("s")) > token


def test_all_processes_of_the_machine_name_its_start_alike(warm: Warm) -> None:
    with Children(warm) as children:
        name = "from sessionstore._runtime.boots import boot_id; print(boot_id())"
        assert children.run(name) == f"{boot_id()}\n"
    assert boot_id()
