"""Whose clock orders and expires the sessions of `DbSessionStore`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clocks import MachineClock
from servers.postgres import PostgresServer
from sqlalchemy import text
from sqlite_files import said

from sessionstore import AgentDb, DbSessionStore, PostgresAgentDb, SqliteAgentDb

DAY = 86_400


@pytest.fixture(params=["psycopg", "asyncpg", "sqlite"])
def db(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AgentDb]:
    if request.param == "sqlite":
        machine = MachineClock(monkeypatch)
        monkeypatch.setattr(SqliteAgentDb, "set_clock", machine.set_ahead, raising=False)
        with SqliteAgentDb(tmp_path / "s.db") as db:
            yield db
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    schema: str = request.getfixturevalue("schema")

    def set_clock(days: float) -> None:
        now, ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: now() + days * DAY)
        monkeypatch.setattr(time, "time_ns", lambda: ns() + int(days * DAY * 10**9))

    for kind in (AgentDb, PostgresAgentDb):
        monkeypatch.setattr(kind, "set_clock", staticmethod(set_clock), raising=False)
    if request.param == "psycopg":
        with PostgresAgentDb(postgres.url(), schema=schema) as made:
            yield made
    else:
        with AgentDb(postgres.url().replace("://", "+asyncpg://"), schema=schema) as made:
            yield made


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_that_is_wrong_by_days_loses_no_live_session(db: AgentDb, days: float) -> None:
    store = DbSessionStore(db, retention_days=1)
    store.create("made", metadata={"a": 1}, messages=[said("x")])
    store.append_message("kept", said("x", "kept"))
    db.set_clock(days)  # type: ignore[attr-defined]
    store.append_message("other", said("x"))
    assert store.prune_expired() == 0
    assert [message.id for message in store.get_messages("kept")] == ["kept"]
    assert store.append_message("made", said("y")) == 1
    assert len(store.list_sessions().sessions) == 3


WRITES: dict[str, Callable[[DbSessionStore, str], object]] = {
    "append": lambda store, name: store.append_message(name, said("more")),
    "replace": lambda store, name: store.replace_message(name, said("new", "first")),
    "delete": lambda store, name: store.delete_messages(name, ["first"]),
    "rewind": lambda store, name: store.rewind(name, to=None),
    "update": lambda store, name: store.update(name, messages=[said("all", "first")]),
    "create": lambda store, name: store.create(f"made after {name}"),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_list_never_runs_backwards(db: AgentDb, write: str) -> None:
    store = DbSessionStore(db)
    for name in ("a", "b", "c"):
        store.append_message(name, said("x", "first"))
    _lead(db, days=2)  # somebody whose clock was wrong has written to the last of them
    for name in ("a", "b"):
        before = {info.id: info.updated_at for info in store.list_sessions().sessions}
        WRITES[write](store, name)
        page = store.list_sessions()
        newest = page.sessions[0]
        assert newest.id == (f"made after {name}" if write == "create" else name)
        assert all(newest.updated_at > at for at in before.values())


def _lead(db: AgentDb, *, days: float) -> None:
    with db._sync().begin() as connection:
        later = int(days * DAY * 10**6)
        table = db.tables.sessions.fullname
        connection.execute(
            text(f"UPDATE {table} SET updated_at = updated_at + {later} WHERE id = 'c'")
        )
