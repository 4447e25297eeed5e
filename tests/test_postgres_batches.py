"""Work of one event loop that is under way at the same moment, on PostgreSQL: done in batches."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
import pytest
from servers.pgbouncer import PgBouncer
from servers.pgbouncer import binary as pgbouncer_binary
from servers.postgres import PostgresServer
from servers.relay import Relay

from sessionstore import (
    CorruptMessageError,
    DbSessionStore,
    PostgresAgentDb,
    SessionAccessError,
    SessionConflictError,
    SessionMessage,
    SessionStoreError,
    StoreConnectionError,
    StoreTimeoutError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

CROWD = 64
NAMES = [f"s{n}" for n in range(CROWD)]


def say(text: str = "hello", **fields: Any) -> SessionMessage:
    return SessionMessage("user", text, **fields)


@pytest.fixture(scope="module")
def mortal_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


class Crowd:
    """A store in which each of a crowd has a session, and a loop to call it on.

    Args:
        server: Where it is.
        schema: A schema of its own.
        port: How the store gets there; the server's own where none is given.
        options: Of the database.
    """

    def __init__(
        self, server: PostgresServer, schema: str, *, port: int | None = None, **options: Any
    ) -> None:
        self.server, self._schema = server, schema
        self.db = PostgresAgentDb(server.url(port=port), schema=schema, **options)
        self.store = DbSessionStore(self.db)
        self._loop = asyncio.new_event_loop()
        for name in NAMES:
            self.store.append_message(name, say("first", id="first"), user_id=f"user of {name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.db.aclose())
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def all(self, call: Callable[[str], Awaitable[Any]]) -> dict[str, Any]:
        """Make a call for each session at once, and give each one's result or error."""

        async def at_once() -> list[Any]:
            return await asyncio.gather(*map(call, NAMES), return_exceptions=True)

        return dict(zip(NAMES, self.run(at_once()), strict=True))

    def say(self, name: str, text: str = "hello", **fields: Any) -> Awaitable[int]:
        return self.store.aappend_message(name, say(text, **fields))

    def texts(self, name: str) -> list[Any]:
        return [message.content for message in self.store.get_messages(name)]

    def sql(self, statement: str) -> list[Any]:
        """Carry out some SQL beside the store."""
        with psycopg.connect(self.server.url(), autocommit=True) as admin:
            admin.execute(f"SET search_path TO {self._schema}".encode())
            found = admin.execute(statement.encode())
            return found.fetchall() if found.description else []

    def transactions(self) -> int:
        """Give how many transactions the messages behind the first came in."""
        [(number,)] = self.sql(
            "SELECT count(DISTINCT xmin::text) FROM sessionstore_messages WHERE position > 1"
        )
        return int(number)


@pytest.fixture
def crowd(postgres: PostgresServer, schema: str) -> Iterator[Crowd]:
    with Crowd(postgres, schema) as made:
        yield made


# -- Batches happen -------------------------------------------------------------------------------


def test_a_crowds_appends_share_transactions(crowd: Crowd) -> None:
    assert set(crowd.all(crowd.say).values()) == {1}
    assert crowd.transactions() <= CROWD // 4
    assert all(crowd.texts(name) == ["first", "hello"] for name in NAMES)


def test_a_crowds_reads_share_round_trips(postgres: PostgresServer, schema: str) -> None:
    relay = Relay(postgres.port)
    with Crowd(postgres, schema, port=relay.port) as crowd:
        crowd.all(crowd.say)  # opens connections
        before = relay.round_trips
        found = crowd.all(lambda name: crowd.store.aget_messages(name, limit=5))
        assert relay.round_trips - before <= CROWD // 4
        assert found == {name: crowd.store.get_messages(name) for name in NAMES}
    relay.close()


def test_who_comes_alone_goes_alone(crowd: Crowd) -> None:
    for name in NAMES[:3]:
        crowd.run(crowd.say(name))  # type: ignore[arg-type]
    assert crowd.transactions() == 3


@pytest.mark.skipif(not pgbouncer_binary(), reason="PgBouncer is not installed")
def test_a_crowd_behind_pgbouncer(postgres: PostgresServer, schema: str) -> None:
    bouncer = PgBouncer(postgres)
    with Crowd(postgres, schema, port=bouncer.port) as crowd:
        for turn in range(1, 8):
            assert set(crowd.all(crowd.say).values()) == {1}
            found = crowd.all(lambda name: crowd.store.aget_messages(name, limit=3))
            assert {len(messages) for messages in found.values()} == {min(3, turn + 1)}
        assert crowd.transactions() <= 7 * CROWD // 4
    bouncer.stop()


# -- Each as if it were alone ---------------------------------------------------------------------


def test_reads_in_a_crowd_give_what_they_give_alone(crowd: Crowd) -> None:
    long = "x" * 20_000
    for n, name in enumerate(NAMES):
        more = [say(f"{n}.{m}") for m in range(n % 7)]
        crowd.store.append_messages(name, more)
    crowd.store.append_messages("s9", [say(long), say(), say()])
    crowd.store.append_messages("\0 a ' new\n", [SessionMessage("system", "be kind"), say(), say()])
    crowd.store.delete("s10")
    names = [*NAMES, "\0 a ' new\n", "none"]
    reads: list[tuple[str, dict[str, Any]]] = [
        ("get_messages", {"limit": 2}),
        ("get_messages", {"limit": 2, "keep_system": True}),
        ("get_messages", {"limit": 3, "user_id": "user of s3"}),
        ("get", {"limit": 3}),
        ("get", {"limit": 1, "user_id": "user of s4"}),
        ("get_messages", {}),
    ]

    async def told(method: str, name: str, asked: dict[str, Any]) -> Any:
        try:
            return await getattr(crowd.store, f"a{method}")(name, **asked)
        except SessionStoreError as error:
            return type(error), str(error)

    async def at_once() -> list[Any]:
        calls = [told(method, name, asked) for method, asked in reads for name in names]
        return await asyncio.gather(*calls)

    alone = [crowd.run(told(method, name, asked)) for method, asked in reads for name in names]
    assert crowd.run(at_once()) == alone


def test_a_crowds_appends_do_what_each_does_alone(crowd: Crowd) -> None:
    versions = {name: crowd.store.get(name).version for name in NAMES}  # type: ignore[union-attr]
    again = crowd.all(lambda name: crowd.say(name, id="first"))
    assert set(again.values()) == {0}
    two = crowd.all(
        lambda name: crowd.store.aappend_messages(
            name, [say("first", id="first"), say(id="a"), say(id="a"), say(id="b")]
        )
    )
    assert set(two.values()) == {2}
    times = []
    for name in NAMES:
        session = crowd.store.get(name)
        assert session is not None
        assert [message.id for message in session.messages] == ["first", "a", "b"]
        assert session.version == versions[name] + 1
        assert crowd.store.list_sessions(user_id=f"user of {name}").sessions[0].message_count == 3
        times.append(session.updated_at)
    assert len(set(times)) == CROWD, "no two have one place in a list"


def test_new_sessions_are_made_in_a_crowd(crowd: Crowd) -> None:
    made = crowd.all(
        lambda name: crowd.store.aappend_message(f"new {name}", say(), user_id="alice")
    )
    assert set(made.values()) == {1}
    both = crowd.all(lambda name: crowd.store.aappend_message("one for all", say(name)))
    assert set(both.values()) == {1}
    assert sorted(crowd.texts("one for all")) == sorted(NAMES)


def test_an_expired_session_is_new_in_a_crowd(crowd: Crowd) -> None:
    store = DbSessionStore(crowd.db, retention_days=1)
    crowd.sql("UPDATE sessionstore_sessions SET updated_at = 1 WHERE id = 's5'")
    read = crowd.all(lambda name: store.aget_messages(name, limit=2))
    assert [name for name in NAMES if not read[name]] == ["s5"]
    assert set(crowd.all(lambda name: store.aappend_message(name, say())).values()) == {1}
    assert crowd.texts("s5") == ["hello"]


_TRIGGER = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON sessionstore_messages FOR EACH ROW
    WHEN (NEW.body LIKE '%wicked%') EXECUTE FUNCTION refuse();
"""
_FAILURES: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "another's": (SessionAccessError, "", {"user_id": "mallory"}),
    "a conflict": (SessionConflictError, "", {"expected_version": 7}),
    "an error": (SessionStoreError, "RAISE EXCEPTION 'refused';", {}),
    "a conflict of the server's": (
        StoreUnavailableError,
        "RAISE EXCEPTION 'again' USING ERRCODE = '40001';",
        {},
    ),
    "a lost connection": (
        StoreConnectionError,
        "PERFORM pg_terminate_backend(pg_backend_pid());",
        {},
    ),
}


@pytest.mark.parametrize("way", _FAILURES)
def test_one_that_fails_fails_alone(crowd: Crowd, way: str) -> None:
    kind, trigger, asked = _FAILURES[way]
    if trigger:
        crowd.sql(_TRIGGER.format(trigger))

    def call(name: str) -> Awaitable[int]:
        if name == "s40":
            return crowd.store.aappend_message(name, say("wicked"), **asked)
        return crowd.say(name)

    told = crowd.all(call)
    failed = told.pop("s40")
    assert isinstance(failed, kind), failed
    assert "wicked" not in str(failed)
    assert set(told.values()) == {1}
    assert crowd.texts("s40") == ["first"]
    assert all(crowd.texts(name) == ["first", "hello"] for name in told)


def test_one_that_cant_be_read_fails_alone(crowd: Crowd) -> None:
    crowd.sql(
        "UPDATE sessionstore_messages SET body = '{' WHERE session_key ="
        " (SELECT session_key FROM sessionstore_sessions WHERE id = 's40')"
    )
    told = crowd.all(lambda name: crowd.store.aget_messages(name, limit=3))
    assert isinstance(told.pop("s40"), CorruptMessageError)
    assert {len(messages) for messages in told.values()} == {1}


def test_a_locked_session_holds_nobody_up(crowd: Crowd) -> None:
    async def at_once() -> None:
        tasks = {name: asyncio.ensure_future(crowd.say(name)) for name in NAMES}
        others = [task for name, task in tasks.items() if name != "s40"]
        assert set(await asyncio.wait_for(asyncio.gather(*others), 5)) == {1}
        found = await crowd.store.aget_messages("s40", limit=5)
        assert len(found) == 1
        assert not tasks["s40"].done()
        holder.rollback()
        assert await asyncio.wait_for(tasks["s40"], 5) == 1

    with psycopg.connect(crowd.server.url()) as holder:
        holder.execute(f"SET search_path TO {crowd._schema}".encode())
        holder.execute("SELECT FROM sessionstore_sessions WHERE id = 's40' FOR UPDATE")
        crowd.run(at_once())
    assert crowd.transactions() <= CROWD // 4


def test_those_that_are_late_in_one_batch_carry_its_mark(
    postgres: PostgresServer, schema: str
) -> None:
    with Crowd(postgres, schema, connect_timeout=2, statement_timeout=1.0) as crowd:
        crowd.all(crowd.say)  # opens connections
        with psycopg.connect(crowd.server.url()) as holder:
            holder.execute(f"LOCK TABLE {schema}.sessionstore_messages".encode())
            told = crowd.all(crowd.say)
            holder.rollback()
        assert {isinstance(error, StoreTimeoutError) for error in told.values()} == {True}
        marks = [error.batch for error in told.values() if error.batch is not None]
        assert len(marks) > CROWD // 2
        assert len({id(mark) for mark in marks}) <= 3
        assert len({id(error) for error in told.values()}) == CROWD


# -- Cancelled ------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 20])
def test_every_second_caller_is_cancelled(crowd: Crowd, turns: int) -> None:
    async def settled(name: str) -> int | None:
        """Give what an append adds; if it is cancelled, what it is known by then to have added."""
        try:
            return await crowd.say(name)
        except asyncio.CancelledError:
            return None

    async def at_once() -> list[int | None]:
        tasks = [asyncio.ensure_future(settled(name)) for name in NAMES]
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        told = await asyncio.gather(*tasks)
        left = [crowd.texts(name) for name in NAMES]
        await asyncio.sleep(0.05)
        assert left == [crowd.texts(name) for name in NAMES], "something came afterwards"
        return told

    told = crowd.run(at_once())
    assert set(told[1::2]) == {1}
    for name, added in zip(NAMES, told, strict=True):
        assert crowd.texts(name) in (
            [["first", "hello"]] if added else [["first"], ["first", "hello"]]
        )


@pytest.mark.soak
def test_all_are_cancelled_and_nothing_goes_on(crowd: Crowd) -> None:
    async def at_once() -> None:
        with psycopg.connect(crowd.server.url()) as holder:
            holder.execute(f"LOCK TABLE {crowd._schema}.sessionstore_messages".encode())
            tasks = [asyncio.ensure_future(crowd.say(name)) for name in NAMES]
            await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            began = time.monotonic()
            await asyncio.wait(tasks, timeout=15)
            assert all(task.done() for task in tasks)
            # Python 3.10's asyncio.wait_for, which psycopg waits by, at times swallows a cancel.
            if sys.version_info >= (3, 11):
                assert all(task.cancelled() for task in tasks)
                assert time.monotonic() - began < 5
            holder.rollback()

    crowd.run(at_once())
    # A server that did not say in time that it cancelled may have gone on up to this read.
    left = {name: crowd.texts(name) for name in NAMES}
    assert all(texts in (["first"], ["first", "hello"]) for texts in left.values())
    time.sleep(0.1)
    assert left == {name: crowd.texts(name) for name in NAMES}
    assert set(crowd.all(crowd.say).values()) == {1}


def test_who_is_cancelled_takes_nobody_along_where_nothing_goes_on(crowd: Crowd) -> None:
    """A batch that hangs is given up for a cancelled caller, and the others are asked alone."""

    async def at_once() -> None:
        with psycopg.connect(crowd.server.url()) as holder:
            holder.execute(f"LOCK TABLE {crowd._schema}.sessionstore_messages".encode())
            tasks = [asyncio.ensure_future(crowd.say(name)) for name in NAMES]
            await asyncio.sleep(0.1)
            tasks[40].cancel()
            began = time.monotonic()
            await asyncio.wait([tasks[40]], timeout=10)
            assert time.monotonic() - began < 4
            assert tasks.pop(40).cancelled()
            assert not any(task.done() for task in tasks)
            holder.rollback()
        assert set(await asyncio.gather(*tasks)) == {1}

    crowd.run(at_once())
    assert crowd.texts("s40") == ["first"]
    assert all(crowd.texts(name) == ["first", "hello"] for name in NAMES if name != "s40")


# -- Outages --------------------------------------------------------------------------------------


@pytest.mark.soak
def test_a_crowd_on_a_server_that_hangs_ends_in_time(
    mortal_server: PostgresServer, schema: str
) -> None:
    with Crowd(mortal_server, schema, connect_timeout=2, statement_timeout=1.0) as crowd:
        crowd.all(crowd.say)
        mortal_server.freeze()
        began = time.monotonic()
        told = crowd.all(crowd.say)
        assert time.monotonic() - began < 5
        assert {isinstance(error, StoreUnavailableError) for error in told.values()} == {True}
        mortal_server.thaw()
        before = {name: len(crowd.texts(name)) for name in NAMES}
        assert set(crowd.all(crowd.say).values()) == {1}
        assert before == {name: len(crowd.texts(name)) - 1 for name in NAMES}


class Writers:
    """Tasks that append to a session each without a pause, and note what was acknowledged."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.acknowledged: dict[str, list[str]] = {name: [] for name in NAMES}
        self.refused = 0
        self._stopped = False

    async def during(self, trouble: Callable[[], object], times: int) -> None:
        tasks = [asyncio.ensure_future(self._write(name)) for name in NAMES]
        for _ in range(times):
            await self._until(self.total() + 500)
            await asyncio.to_thread(trouble)
        await self._until(self.total() + 500)
        self._stopped = True
        await asyncio.gather(*tasks)

    def total(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    async def _until(self, total: int) -> None:
        began = time.monotonic()
        while self.total() < total:
            assert time.monotonic() - began < 60, "nothing is written"
            await asyncio.sleep(0.002)

    async def _write(self, name: str) -> None:
        number = 0
        while not self._stopped:
            ids = [f"{number}.{part}" for part in "ab"]
            number += 1
            while True:
                try:
                    await self.crowd.store.aappend_messages(name, [say(id=one) for one in ids])
                except StoreUnavailableError:
                    self.refused += 1
                    await asyncio.sleep(0.02)
                else:
                    self.acknowledged[name] += ids
                    break

    def faults(self) -> Iterator[str]:
        for name in NAMES:
            session = self.crowd.store.get(name)
            assert session is not None
            stored = [message.id for message in session.messages[1:]]
            if stored != self.acknowledged[name]:
                yield f"{name}: {len(stored)} of {len(self.acknowledged[name])}, or out of order"
            if session.version != 1 + len(stored) // 2:
                yield f"{name}: something was counted twice"


def _terminate(server: PostgresServer) -> None:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


def _restart(server: PostgresServer) -> None:
    server.kill()
    server.start()


@pytest.mark.soak
@pytest.mark.parametrize("trouble", [_terminate, _restart])
def test_nothing_is_lost_and_nothing_twice(
    mortal_server: PostgresServer, schema: str, trouble: Callable[[PostgresServer], object]
) -> None:
    with Crowd(mortal_server, schema) as crowd:
        writers = Writers(crowd)
        crowd.run(writers.during(lambda: trouble(mortal_server), 5))
        assert list(writers.faults()) == []
        assert writers.total() > 2_500
