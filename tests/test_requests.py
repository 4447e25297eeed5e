"""What flows ask for: whoever shows it, in a log or a traceback, shows nothing of what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from frames import shows
from servers import redis as redis_servers
from sqlalchemy import event, text
from sqlalchemy.schema import DropTable

from sessionstore import (
    AgentDb,
    DbSessionStore,
    InMemorySessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SessionMessage,
    SessionStore,
    SessionStoreError,
    SqliteAgentDb,
    SQLiteSessionStore,
)
from sessionstore.fallback import requests as of_fallback
from sessionstore.operations import Append, Create, Fork, Operation, ReplaceMessage, Update
from sessionstore.redis import calls, scripts
from sessionstore.redis import requests as of_redis
from sessionstore.sql import direct
from sessionstore.sql import requests as of_sql

WORDS = "my salary is 4711"
KEYS = tuple(b"k%d" % number for number in range(6))
QUERY = direct.Query(text("SELECT :body"), direct.Values(body=WORDS))
COMMAND = of_redis.Command(b"k", of_redis.Words(("EVAL", b"return 1", WORDS)))
CALL = (b"k", of_redis.Words(("EVALSHA", b"0", b"6", *KEYS, WORDS)), scripts.APPEND, "s1")

REQUESTS: dict[Any, Any] = {
    "Query": QUERY,
    "Work": of_sql.Work(QUERY, at_once=True, session=WORDS),
    "Command": COMMAND,
    "Call": calls.Call(*CALL),
    "WriteCall": calls.WriteCall(*CALL),
    "LongCall": calls.LongCall(*CALL),
    "LongWriteCall": calls.LongWriteCall(*CALL),
    "ReadAllCall": calls.ReadAllCall(*CALL),
    "Transaction": of_redis.Transaction((of_redis.Words(("RPUSH", b"k", WORDS)),)),
    "Probe": of_redis.Probe(COMMAND),
    "Request": of_fallback.Request(
        InMemorySessionStore(), Append("s1", [SessionMessage("user", WORDS)])
    ),
}


def test_every_kind_of_request_is_among_these() -> None:
    """A kind that is new is shown here, too."""
    modules = (of_fallback, of_redis, of_sql, calls, direct)
    kinds = {
        name
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and name[0] != "_"
    }
    assert kinds == {*REQUESTS, "Values", "Words"}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_is_shown_without_what_is_in_it(kind: str) -> None:
    request = REQUESTS[kind]
    assert repr(request).startswith(f"{kind}(")
    parts = request if isinstance(request, tuple) else [request]
    by_rich = [list(part.__rich_repr__()) for part in parts if hasattr(part, "__rich_repr__")]
    assert by_rich
    assert "salary" not in f"{request!r} {request} {by_rich}"


@pytest.mark.parametrize("a", ["", "a"], ids=["sync", "async"])
@pytest.mark.parametrize("backend", ["sql", "redis", "postgres"])
def test_an_error_of_a_write_shows_none_of_its_words(
    backend: str, a: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Tracebacks may show the variables of each frame: what is written is in none of ours."""
    store = broken(backend, request, tmp_path)
    message = SessionMessage("user", WORDS, id="m")
    writes: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("append_messages", [[message, SessionMessage("user", WORDS)]], {}),
        ("replace_message", [message], {}),
        ("update", [], {"messages": [message]}),
        ("create", [], {"messages": [message]}),
    ]
    for name, args, options in writes:
        with pytest.raises(SessionStoreError) as caught:
            ended(getattr(store, a + name)("s", *args, **options))
        assert shows(caught.value, WORDS) == [], name
    fork = Fork("s", "t", metadata={"title": WORDS})
    with pytest.raises(SessionStoreError) as caught:
        ended(store.arun(fork) if a else store.run(fork))
    assert shows(caught.value, WORDS) == []


@pytest.mark.parametrize("a", ["", "a"], ids=["sync", "async"])
@pytest.mark.parametrize("backend", ["sqlite", "sql", "redis", "postgres"])
def test_an_error_of_a_refused_write_shows_none_of_its_words(
    backend: str, a: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Nor does it show what is stored."""
    message, titled = SessionMessage("user", WORDS, id="m"), {"title": WORDS}
    refused: list[Operation[Any]] = [
        Append("s", [message], expected_version=7),
        Append("s", [message], user_id="eve"),
        ReplaceMessage("s", message),
        Update("s", messages=[message], metadata=titled, expected_version=7),
        Update("s", metadata=titled, user_id="eve"),
        Create("s", messages=[message], metadata=titled),
        Fork("s", "s", metadata=titled),
        Fork("s", "t", at="none", metadata=titled),
        Fork("s", "t", user_id="eve", metadata=titled),
        Fork("said", "s", metadata=titled),
        Fork("none", "t", metadata=titled),
    ]
    with opened(backend, request, tmp_path) as store:
        store.create("s", user_id="alice", metadata=titled)
        store.create("said", messages=[message], metadata=titled)
        for operation in refused:
            with pytest.raises(SessionStoreError) as caught:
                ended(store.arun(operation) if a else store.run(operation))
            assert shows(caught.value, WORDS) == [], operation


def test_what_breaks_a_transaction_off_shows_none_of_its_words(tmp_path: Path) -> None:
    """An error that is not the driver's passes through all of a transaction's frames."""
    with SqliteAgentDb(tmp_path / "file.db") as db:
        store, message = DbSessionStore(db), SessionMessage("user", WORDS, id="m")
        store.create("s", messages=[SessionMessage("user", "hello", id="m")])

        kinds: list[str] = []

        def fail(*arguments: Any) -> None:
            if arguments[2].lstrip().startswith(kinds[-1]):
                raise RuntimeError

        event.listen(db._sync(), "before_cursor_execute", fail)
        titled, added = {"title": WORDS}, SessionMessage("user", WORDS)
        writes: list[tuple[str, Operation[Any]]] = [
            ("INSERT", Append("s", [added])),
            ("UPDATE", Append("s", [added])),
            ("INSERT", Create("new", messages=[message], metadata=titled)),
            ("INSERT", Update("s", messages=[message], metadata=titled)),
            ("UPDATE", Update("s", metadata=titled)),
            ("UPDATE", ReplaceMessage("s", message)),
            ("INSERT", Fork("s", "t", metadata=titled)),
        ]
        for kind, operation in writes:
            kinds.append(kind)
            with pytest.raises(RuntimeError) as caught:
                store.run(operation)
            assert shows(caught.value, WORDS) == [], operation


def ended(given: Any) -> None:
    if asyncio.iscoroutine(given):
        asyncio.run(given)


@contextmanager
def opened(backend: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[SessionStore]:
    if backend == "redis":
        with redis_servers.single() as server, RedisSessionStore(server.url) as store:
            yield store
    elif backend == "postgres":
        server, schema = request.getfixturevalue("postgres"), request.getfixturevalue("schema")
        with PostgresAgentDb(server.url(), schema=schema) as db:
            yield DbSessionStore(db)
    elif backend == "sql":
        with SqliteAgentDb(folder / "file.db") as db:
            yield DbSessionStore(db)
    else:
        with SQLiteSessionStore(folder / "file.db") as store:
            yield store


def broken(backend: str, request: pytest.FixtureRequest, folder: Path) -> SessionStore:
    """Give a store whose writes fail where they are carried out."""
    if backend == "redis":
        with redis_servers.single() as server:
            return RedisSessionStore(server.url)
    if backend == "sql":
        db: AgentDb = SqliteAgentDb(folder / "file.db")
    else:
        server, schema = request.getfixturevalue("postgres"), request.getfixturevalue("schema")
        db = PostgresAgentDb(server.url(), schema=schema)
    store = DbSessionStore(db)
    store.append_message("s", SessionMessage("user", "hello"))
    with db._sync().begin() as connection:
        for table in (db.tables.messages, db.tables.sessions):
            connection.execute(DropTable(table))
    return store
