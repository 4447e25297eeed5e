"""Forks in an SQL database: what PostgreSQL's one statement does, and what it leaves to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers.postgres import PostgresServer
from sqlalchemy import Connection, event

from sessionstore import (
    CorruptMessageError,
    DbSessionStore,
    PostgresAgentDb,
    SessionExistsError,
    SqliteAgentDb,
)
from sessionstore.testing.samples import conversation, ids, said, stored


@pytest.fixture(params=["postgres", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DbSessionStore]:
    if request.param == "sqlite":
        db: Any = SqliteAgentDb(tmp_path / "file.db")
    else:
        server = request.getfixturevalue("postgres")
        db = PostgresAgentDb(server.url(), schema=request.getfixturevalue("schema"))
    with db:
        yield DbSessionStore(db)


@pytest.fixture
def on_postgres(postgres: PostgresServer, schema: str) -> Iterator[DbSessionStore]:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        yield DbSessionStore(db)


def sent(store: DbSessionStore, call: Any) -> list[str]:
    """Give what is sent to the database for a call."""
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    engine = store._db._sync()
    event.listen(engine, "before_cursor_execute", note)
    try:
        call()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return statements


def test_a_fork_is_one_statement_on_postgres(on_postgres: DbSessionStore) -> None:
    store = on_postgres
    store.create("s", messages=conversation(5), metadata={"title": "Trip"})
    assert len(sent(store, lambda: store.fork("s", "t"))) == 1
    assert len(sent(store, lambda: store.fork("s", "u", at="m2", metadata={"title": None}))) == 1
    assert [len(store.get_messages(name)) for name in ("t", "u")] == [5, 3]

    def refused() -> None:
        with pytest.raises(SessionExistsError):
            store.fork("s", "t")

    assert len(sent(store, refused)) == 1


METADATA: list[dict[str, Any]] = [
    {},
    {"a": 1.0, "b": 1e300, "c": 10**15, "d": -0.0, "e": [{}, [], None, True], "f": '\0 \x7f \\ "'},
    {"": "", "é\u2028\U0001f642": {"forked_from": 1}, 'quo"te\\': "x", "forked_from": {"x": 1}},
    {"NUL \0": 1, "\x1a": "\x1a"},
    {"null": None, "a": None},
]


@pytest.mark.parametrize("old", METADATA, ids=range(len(METADATA)))
@pytest.mark.parametrize("new", METADATA, ids=range(len(METADATA)))
def test_metadata_is_merged_in_the_database_as_it_is_elsewhere(
    store: DbSessionStore, old: dict[str, Any], new: dict[str, Any]
) -> None:
    store.create("s", messages=[said("x", "m")], metadata=old)
    expected = {**old, **new}
    expected = {
        key: value for key, value in expected.items() if key not in new or new[key] is not None
    }
    expected["forked_from"] = {"session_id": "s", "message_id": "m"}
    info = store.fork("s", "t", metadata=new)
    assert info.metadata == stored(store, "t").metadata == expected
    assert str(info.metadata) == str(stored(store, "t").metadata)
    assert stored(store, "s").metadata == old


def test_what_the_statement_leaves_is_done_in_a_transaction(store: DbSessionStore) -> None:
    store.append_messages("s", [said("x", "first"), said("y", "\x1a \0")])
    for at in (None, "\x1a \0", "first"):
        new = f"at {at}"
        assert store.fork("s", new, at=at).metadata == stored(store, new).metadata
        assert len(store.get_messages(new)) == (1 if at == "first" else 2)
        assert stored(store, new).metadata["forked_from"]["message_id"] == (at or "\x1a \0")


def test_damaged_metadata_is_not_copied(store: DbSessionStore) -> None:
    store.create("s", messages=conversation(2), metadata={"title": "Trip"})
    with store._db._sync().begin() as connection:
        table = store._db.tables.sessions
        connection.execute(table.update().values(metadata="{damaged"))
    with pytest.raises(CorruptMessageError):
        store.fork("s", "t")
    with pytest.raises(CorruptMessageError):
        store.fork("s", "t", at="m0", metadata={"title": "x"})
    assert store.get("t") is None


@contextmanager
def other_transaction(store: DbSessionStore) -> Iterator[Connection]:
    """One that somebody else has begun, and commits in the end."""
    with store._db._sync().connect() as connection:
        connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            yield connection


def test_who_forks_waits_for_nobody_who_writes_to_the_session(
    on_postgres: DbSessionStore,
) -> None:
    """It has what was committed when it began."""
    store = on_postgres
    store.append_messages("s", conversation(3))
    sessions = store._db.tables.sessions
    with ThreadPoolExecutor() as threads:
        with other_transaction(store) as connection:
            connection.execute(sessions.select().with_for_update())
            append = threads.submit(store.append_message, "s", said("x"))
            assert store.fork("s", "t").message_count == 3
            assert store.fork("s", "u", at="m2").message_count == 3
            assert not append.done()
        assert append.result() == 1
    assert store.fork("s", "v").message_count == 4


def test_two_who_make_one_fork_at_the_same_time(on_postgres: DbSessionStore) -> None:
    """The second can't see the first one's yet, waits for it, and is refused then."""
    store = on_postgres
    store.append_messages("s", conversation(3))
    sessions = store._db.tables.sessions
    with ThreadPoolExecutor() as threads:
        with other_transaction(store) as connection:
            row = connection.execute(sessions.select()).mappings().one()
            made = {name: row[name] for name in row if name != "session_key"}
            connection.execute(sessions.insert().values({**made, "id": "t", "message_count": 0}))
            fork = threads.submit(store.fork, "s", "t")
            time.sleep(0.5)
            assert not fork.done()
        with pytest.raises(SessionExistsError):
            fork.result()
    assert ids(store.get_messages("s")) == ["m0", "m1", "m2"]
    assert store.get_messages("t") == []


def test_a_fork_is_async_on_postgres(postgres: PostgresServer, schema: str) -> None:
    async def main() -> None:
        async with PostgresAgentDb(postgres.url(), schema=schema) as db:
            store = DbSessionStore(db)
            await store.aappend_messages("s", conversation(3))
            forks = [store.afork("s", f"t{n}", at=f"m{n % 3}") for n in range(12)]
            assert [info.message_count for info in await asyncio.gather(*forks)] == [1, 2, 3] * 4

    asyncio.run(main())
