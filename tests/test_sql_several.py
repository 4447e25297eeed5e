"""Several operations on a session as one step, where others write to the same session."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from typing import Any

import msgspec
import psycopg
import pytest
from conftest import Call
from frames import shows
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary
from servers.postgres import PostgresServer
from servers.process import wait_until
from servers.relay import Relay
from sqlalchemy import Connection, create_engine, func, make_url, select, update

from sessionstore import (
    AgentDb,
    CorruptMessageError,
    DbSessionStore,
    PostgresAgentDb,
    SessionConflictError,
    SessionMessage,
    SessionStoreError,
    SqliteAgentDb,
    StoreBusyError,
    StoreUnavailableError,
)
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    Operation,
    Rewind,
    Several,
)
from sessionstore.sql.requests import Work
from sessionstore.sql.several import OF_ONE_SESSION
from sessionstore.sql.several import several as several_flow

Operations = list[Operation[Any]]

_LOCK = "SELECT FROM {}.sessionstore_sessions FOR UPDATE"
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def _soaked(kind: str) -> Any:
    return pytest.param(kind, marks=pytest.mark.soak)


# What asyncpg's database does sync, it does by psycopg.
_SERVERS = ["ours", _soaked("psycopg"), _soaked("asyncpg"), _soaked("mariadb")]
_ALL = [*_SERVERS, "sqlite"]


def say(name: str = "", text: str = "hello") -> SessionMessage:
    return SessionMessage("user", text, id=name or None)


def ids(messages: Any) -> list[Any]:
    return [message.id for message in messages]


@pytest.fixture
def open_db(request: pytest.FixtureRequest, schema: str) -> Iterator[Callable[[str], AgentDb]]:
    opened: list[AgentDb] = []

    def make(kind: str) -> AgentDb:
        if kind == "mariadb":
            if not mariadb_binary():
                pytest.skip("MariaDB is not installed")
            server: MariadbServer = request.getfixturevalue("mariadb")
            server.execute(f"CREATE DATABASE IF NOT EXISTS {schema}")
            return AgentDb(server.url(schema))
        if kind == "sqlite":
            return SqliteAgentDb(request.getfixturevalue("tmp_path") / "s.db")
        url = request.getfixturevalue("postgres").url()
        if kind == "ours":
            return PostgresAgentDb(url, schema=schema)
        return AgentDb(make_url(url).set(drivername=f"postgresql+{kind}"), schema=schema)

    def open_(kind: str) -> AgentDb:
        opened.append(make(kind))
        return opened[-1]

    yield open_
    for db in opened:
        db.close()


@contextmanager
def uncommitted(store: DbSessionStore, *operations: Operation[Any]) -> Iterator[None]:
    """Have a transaction with some operations open for as long as the block lasts."""
    done, end = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        for operation in operations:
            flow = OF_ONE_SESSION.get(type(operation), several_flow)(store._sessions, operation)
            request, reply = next(flow), None
            try:
                while True:
                    reply = request.run(connection)
                    request = flow.send(reply)
            except StopIteration:
                pass
        done.set()
        assert end.wait(10)

    thread = threading.Thread(target=store._db.send, args=(Work(work),))
    thread.start()
    assert done.wait(10)
    try:
        yield
    finally:
        end.set()
        thread.join()


class Later:
    """Something that is done in a thread meanwhile."""

    def __init__(self, doing: Callable[[], Any]) -> None:
        self.results: list[Any] = []
        self._doing = doing
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.results.append(self._doing())
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.results.append(error)

    def result(self) -> Any:
        self._thread.join()
        [result] = self.results
        return result


_OTHERS: dict[str, tuple[Operations, Operations, list[str]]] = {
    "append": ([Append("s", [say("a")])], [Append("s", [say("x")])], ["a", "x"]),
    "delete": ([Append("s", [say("a")])], [Delete("s")], []),
    "again": ([Append("s", [say("a")])], [Delete("s"), Create("s", [say("b")])], ["b"]),
    "remove": ([Append("s", [say("a"), say("b")])], [DeleteMessages("s", ["a"])], ["b"]),
    "rewind": ([Append("s", [say("a"), say("b")])], [Rewind("s", "a")], ["a"]),
    "make": ([], [Append("s", [say("x")])], ["x"]),
    "create": ([], [Create("s")], []),
}
_LISTS: dict[str, Operations] = {
    "messages": [GetMessages("s"), Append("s", [say("m"), say("n")])],
    "last": [GetMessages("s", limit=5, keep_system=True), Append("s", [say("m"), say("n")])],
    "session": [Get("s", limit=5), Append("s", [say("m"), say("n")])],
    "more": [GetMessages("s"), DeleteMessages("s", ["no"]), Append("s", [say("m"), say("n")])],
}


@pytest.mark.parametrize("kind", _SERVERS)
@pytest.mark.parametrize("what", _LISTS)
def test_what_is_read_stands_right_before_what_is_written(
    open_db: Callable[[str], AgentDb], kind: str, what: str, call: Call
) -> None:
    """Also where another writer has begun, and commits meanwhile."""
    store = DbSessionStore(open_db(kind))
    for other, (before, meanwhile, left) in _OTHERS.items():
        store.delete("s")
        for operation in before:
            call(store, "run", operation)
        call(store, "ping")
        with uncommitted(store, *meanwhile):
            later = Later(partial(call, store, "run", _LISTS[what]))
            time.sleep(0.05)
            assert not later.results, f"{other}: it does not wait"
        results = later.result()
        assert isinstance(results, list), results
        view = results[0] if what != "session" else results[0].messages if results[0] else []
        assert ids(view) == left, other
        assert results[-1] == 2, other
        found = store.get("s")
        assert found
        assert ids(found.messages) == [*left, "m", "n"], other
        assert found.message_count == len(left) + 2
    call(store._db, "close")


@pytest.mark.parametrize("kind", _ALL)
@pytest.mark.parametrize("last", [Get("s"), Append("s", [say("m")]), Delete("s"), Create("s")])
def test_nobody_makes_a_session_in_between(
    open_db: Callable[[str], AgentDb], kind: str, last: Operation[Any]
) -> None:
    """What a step has not found is not there at its end, but what it has made itself."""
    db = open_db(kind)
    store, other = DbSessionStore(db), DbSessionStore(db, retention_days=1)
    store.ping()
    made, added = isinstance(last, (Append, Create)), isinstance(last, Append)
    for first in (Get("s"), GetMessages("s"), DeleteMessages("s", ["x"])):
        parts: Any = [first, DeleteMessages("s", ["x"]), last]
        with uncommitted(store, Several(parts)):
            later = Later(lambda: other.append_message("s", say("other")))
            time.sleep(0.05)
            assert not later.results, "it does not wait"
        assert later.result() == 1
        [found] = store.list_sessions().sessions
        assert (found.version, found.message_count) == (1 + made, 1 + added)
        assert _rows(db) == 1
        store.delete("s")


def _rows(db: AgentDb) -> int:
    """Count the rows of the table of sessions, whatever is in them."""
    with db._sync().connect() as connection:
        found = connection.scalar(select(func.count()).select_from(db.tables.sessions))
        return int(found or 0)


@pytest.mark.parametrize("kind", _ALL)
def test_several_on_a_session_that_is_not_there_leave_nothing(
    open_db: Callable[[str], AgentDb], kind: str
) -> None:
    db = open_db(kind)
    store = DbSessionStore(db)
    none: Any = [Get("s"), GetMessages("s", before="x"), DeleteMessages("s", ["x"])]
    assert store.run(none) == [None, [], []]
    assert store.run([*none, Append("s", []), Delete("s")]) == [None, [], [], 0, False]
    assert store.run(none[:2]) == [None, []]
    with pytest.raises(SessionConflictError):
        store.run([Get("s"), Append("s", [say()], expected_version=1)])
    assert _rows(db) == 0


@pytest.mark.parametrize("kind", _ALL)
def test_an_expired_session_is_made_anew(open_db: Callable[[str], AgentDb], kind: str) -> None:
    db = open_db(kind)
    store = DbSessionStore(db, retention_days=1)
    for operations in _LISTS.values():
        store.append_messages("s", [say("a"), say("m")])
        with db._sync().begin() as connection:
            connection.execute(update(db.tables.sessions).values(updated_at=1))
        first, *_, added = store.run(operations)
        assert (first or [], added) == ([], 2)
        assert store.run([Get("s"), GetMessages("s")])[0].version == 1
        assert ids(store.get_messages("s")) == ["m", "n"]
        store.delete("s")


@pytest.mark.parametrize("kind", _ALL)
def test_several_that_meet_damage_write_nothing(
    open_db: Callable[[str], AgentDb], kind: str, call: Call
) -> None:
    db = open_db(kind)
    store = DbSessionStore(db)
    call(store, "append_messages", "s", [say("a"), say("m")])
    messages = db.tables.messages
    with db._sync().begin() as connection:
        damage = update(messages).where(messages.c.id == "a").values(body='{"role": 7}')
        connection.execute(damage)
    for operations in _LISTS.values():
        with pytest.raises(CorruptMessageError):
            call(store, "run", operations)
        assert store.get("s", limit=0).message_count == 2  # type: ignore[union-attr]
        assert ids(store.get_messages("s", limit=1)) == ["m"]
    call(db, "close")


@pytest.mark.parametrize("kind", _ALL)
def test_no_error_of_a_list_shows_what_was_said(
    open_db: Callable[[str], AgentDb], kind: str
) -> None:
    store = DbSessionStore(open_db(kind))
    secret = SessionMessage("user", "s3cret", id="m")
    store.create("s", messages=[secret], user_id="alice")
    for user_id, version in (("alice", 7), ("eve", None), ("eve", 1)):
        late = Append("s", [say("n", "s3cret")], user_id=user_id, expected_version=version)
        read, whole = GetMessages("s", user_id=user_id), Get("s", user_id=user_id)
        for operations in ([read, late], [whole, late], [whole, read, late]):
            with pytest.raises(SessionStoreError) as caught:
                store.run(operations)
            assert shows(caught.value, "s3cret") == []


# -- PostgreSQL -----------------------------------------------------------------------------------


def test_a_read_and_an_append_are_one_round_trip(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    relay = Relay(postgres.port)
    counted: dict[str, int] = {}

    def count(what: str, *operations: Operation[Any]) -> list[Any]:
        before = relay.round_trips
        results: list[Any] = call(store, "run", list(operations))
        counted[what] = relay.round_trips - before
        return results

    with PostgresAgentDb(postgres.url(port=relay.port), schema=schema) as db:
        store = DbSessionStore(db, retention_days=1)
        call(store, "ping")
        odd, owner = "s\0\x1a", "alice\0"
        made = count(
            "new", GetMessages(odd, 20, user_id=owner), Append(odd, [say("\0")], user_id=owner)
        )
        assert made == [[], 1]
        messages = [say(f"m{n}", "x" * 1000) for n in range(40)]
        mine: Any = {"user_id": owner}
        assert count("all", GetMessages(odd, **mine), Append(odd, messages, **mine))[1] == 40
        view, added = count(
            "last", GetMessages(odd, 20, keep_system=True, **mine), Append(odd, [say("z")], **mine)
        )
        assert (view, added) == (messages[20:], 1)
        last = count("whole", Get(odd, 2, **mine), Append(odd, [say("z"), say("y")], **mine))[0]
        assert (last.id, last.user_id, last.version) == (odd, owner, 3)
        assert ids(last.messages) == ["m39", "z"]
        expecting = Append(odd, [say()], expected_version=4, **mine)
        assert count("expected", GetMessages(odd, 1, **mine), expecting)[1] == 1
        count("one", Append(odd, [say()], **mine))
        assert count("again", GetMessages(odd, 0, **mine), Append(odd, [say("z")], **mine))[1] == 0
    relay.close()
    assert counted == dict.fromkeys(counted, 1)
    assert relay.connections == 1


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"])
@pytest.mark.parametrize("what", ["messages", "more"])
def test_nobody_comes_between_several_at_any_isolation(
    postgres: PostgresServer, schema: str, level: str, what: str
) -> None:
    url = postgres.url().replace("://", "+psycopg://")
    engine = create_engine(url, isolation_level=level)
    store = DbSessionStore(AgentDb(engine, schema=schema))
    store.ping()
    others: Operations = [DeleteMessages("s", ["none"])] if what == "more" else []

    def turn() -> int:
        while True:
            with suppress(StoreBusyError):  # nothing was done, ten times
                return len(store.run([GetMessages("s"), *others, Append("s", [say()])])[0])

    def turns() -> list[int]:
        return [turn() for _ in range(10)]

    turning = [Later(turns) for _ in range(3)]
    assert sorted(chain.from_iterable(later.result() for later in turning)) == list(range(30))
    engine.dispose()


@pytest.mark.parametrize("kind", ["ours", "psycopg", "asyncpg"])
def test_reads_of_a_list_are_of_one_moment(
    open_db: Callable[[str], AgentDb], kind: str, call: Call
) -> None:
    """And wait for no writer."""
    store = DbSessionStore(open_db(kind))
    stop = threading.Event()

    def write() -> int:
        count = 0
        while not stop.is_set():
            store.append_message("s", say())
            count += 1
        return count

    call(store, "ping")
    later = Later(write)
    for _ in range(100):
        first, messages, last = call(store, "run", [Get("s", 0), GetMessages("s"), Get("s", 0)])
        assert first == last
        assert len(messages) == (first.version if first else 0)
    stop.set()
    assert later.result() > 1
    with uncommitted(store, Append("s", [say("late")])):
        assert ids(call(store, "run", [Get("s"), GetMessages("s", 1)])[1]) != ["late"]
    call(store._db, "close")


@pytest.mark.parametrize("what", _LISTS)
def test_a_list_that_may_have_taken_effect_is_not_resent(
    postgres: PostgresServer, schema: str, what: str, call: Call
) -> None:
    """Its second sending would read what the first has written."""
    relay = Relay(postgres.port)

    def cut() -> None:
        with psycopg.connect(postgres.url(), autocommit=True) as watching:
            wait_until(lambda: watching.execute(_WAITING).fetchone() == (1,), "none waits")
        relay.cut()
        other.rollback()

    with PostgresAgentDb(postgres.url(port=relay.port), schema=schema) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say("a"))
        with psycopg.connect(postgres.url()) as other:
            other.execute(_LOCK.format(schema).encode())
            later = Later(cut)
            try:
                results = call(store, "run", _LISTS[what])
            except StoreUnavailableError:
                results = None
            if results:  # its transaction was not committed: so it was tried again
                assert (what, ids(results[0])) == ("more", ["a"])
            later.result()
        found = ids(call(store, "get_messages", "s"))
        assert found in (["a"], ["a", "m", "n"])
        call(db, "close")
    relay.close()


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["ours", "asyncpg"])
@pytest.mark.parametrize("what", _LISTS)
def test_a_cancelled_list_is_settled(
    postgres: PostgresServer,
    open_db: Callable[[str], AgentDb],
    schema: str,
    kind: str,
    what: str,
) -> None:
    async def main() -> None:
        async with open_db(kind) as db:
            store = DbSessionStore(db)
            await store.aappend_message("s", say("a"))
            with psycopg.connect(postgres.url()) as other:
                other.execute(_LOCK.format(schema).encode())
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(store.arun(_LISTS[what]), 0.2)
                assert ids(await store.aget_messages("s")) == ["a"]
                other.rollback()
            assert await store.aappend_message("s", say("b")) == 1
            for number in range(30 if kind == "ours" else 5):
                turn: Any = [GetMessages("t"), *_of("t", _LISTS[what])]
                task = asyncio.ensure_future(store.arun(turn))
                await asyncio.sleep(number * 0.0002)
                task.cancel()
                await asyncio.wait([task])
                found = ids(await store.aget_messages("t"))
                assert found in ([], ["m", "n"])
                assert found or task.cancelled(), task
                await store.adelete("t")
            assert ids(await store.aget_messages("s")) == ["a", "b"]

    asyncio.run(main())


def _of(session_id: str, operations: Operations) -> list[Any]:
    return [msgspec.structs.replace(one, session_id=session_id) for one in operations]


@pytest.mark.parametrize("what", _LISTS)
def test_an_interrupted_list_leaves_nothing_under_way(
    postgres: PostgresServer, schema: str, what: str
) -> None:
    options = {"pool_size": 1, "pool_timeout": 5}
    with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
        store = DbSessionStore(db)
        store.append_message("s", say("a"))

        def interrupt() -> None:
            with psycopg.connect(postgres.url(), autocommit=True) as watching:
                wait_until(lambda: watching.execute(_WAITING).fetchone() == (1,), "none waits")
            os.kill(os.getpid(), signal.SIGINT)

        with psycopg.connect(postgres.url()) as other:
            other.execute(_LOCK.format(schema).encode())
            later = Later(interrupt)
            with pytest.raises(KeyboardInterrupt):
                store.run(_LISTS[what])
            later.result()
            assert ids(store.get_messages("s")) == ["a"]
            other.rollback()
        assert store.run(_LISTS[what])[-1] == 2
        assert ids(store.get_messages("s")) == ["a", "m", "n"]
