"""Busy is not away: locks, conflicts and pools that are full, and whom they hold up."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from threading import Event
from typing import Any

import psycopg
import pytest
from conftest import Call
from servers.postgres import PostgresServer
from servers.process import wait_until
from servers.proxy import Proxy
from stopwatch import Stopwatch

from sessionstore import (
    DbSessionStore,
    PostgresAgentDb,
    SessionMessage,
    StoreBusyError,
    StoreConnectionError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore._runtime.tickets import Ticket, ticket
from sessionstore.deadline import deadline_after, until
from sessionstore.sql.gate import Gate

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def say(text: str = "hello", **fields: Any) -> SessionMessage:
    return SessionMessage("user", text, **fields)


@contextmanager
def locked(server: PostgresServer, schema: str, *sessions: str) -> Iterator[Any]:
    """Have sessions locked by another; give what counts those who wait for them."""
    rows = f"SELECT FROM {schema}.sessionstore_sessions WHERE id = ANY(%s) FOR UPDATE"
    with (
        psycopg.connect(server.url(), autocommit=True) as watching,
        psycopg.connect(server.url()) as other,
    ):
        other.execute(rows.encode(), [list(sessions)])

        def waiting() -> int:
            found = watching.execute(_WAITING).fetchone()
            return int(found[0]) if found else 0

        yield waiting
        other.rollback()


@pytest.fixture
def made(postgres: PostgresServer, schema: str) -> None:
    """Have the tables, and two sessions: to make them takes its time."""
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        for name in ("slow", "free"):
            DbSessionStore(db).append_message(name, say())


@pytest.mark.soak
@pytest.mark.usefixtures("made")
def test_threads_on_a_locked_session_leave_connections_to_others(
    postgres: PostgresServer, schema: str
) -> None:
    """Fifteen of them, on a pool of fifteen; and who waits among them does not blame the store."""
    with (
        PostgresAgentDb(postgres.url(), schema=schema, statement_timeout=2) as db,
        locked(postgres, schema, "slow") as waiting,
        ThreadPoolExecutor(15) as pool,
    ):
        store = DbSessionStore(db)
        calls = [pool.submit(store.append_message, "slow", say()) for _ in range(15)]
        wait_until(lambda: waiting() == 5, "they do not wait")
        for _ in range(5):
            assert store.append_message("free", say()) == 1
            assert len(store.get_messages("slow")) == 1
        assert waiting() == 5
        told = {type(call.exception()) for call in calls}
    assert told <= {StoreTimeoutError, StoreBusyError}


@pytest.mark.soak
@pytest.mark.usefixtures("made")
def test_tasks_on_a_locked_session_leave_connections_to_others(
    postgres: PostgresServer, schema: str
) -> None:
    async def main(waiting: Any) -> None:
        async with PostgresAgentDb(postgres.url(), schema=schema, statement_timeout=2) as db:
            store = DbSessionStore(db)
            tasks = [
                asyncio.create_task(store.aupdate("slow", metadata={"a": 1})) for _ in range(15)
            ]
            await asyncio.to_thread(wait_until, lambda: waiting() == 5, "they do not wait")
            for _ in range(5):
                assert await store.aappend_message("free", say()) == 1
                assert len(await store.aget_messages("slow")) == 1
            assert waiting() == 5
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            expected = (StoreTimeoutError, StoreBusyError)
            assert [error for error in ended if not isinstance(error, expected)] == []

    with locked(postgres, schema, "slow") as waiting:
        asyncio.run(main(waiting))


def test_which_timeout_of_the_server_ends_a_wait_decides_the_error(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    for setting, kind in (
        ("lock_timeout", StoreBusyError),
        ("statement_timeout", StoreTimeoutError),
    ):
        options = f"-c {setting}=100"
        with PostgresAgentDb(postgres.url(), schema=schema, options=options) as db:
            store = DbSessionStore(db)
            call(store, "append_message", "s", say())
            with locked(postgres, schema, "s"), pytest.raises(kind) as told:
                call(store, "append_message", "s", say())
            assert type(told.value) is kind
            call(db, "close")


def entered(gate: Gate, session: str) -> Ticket | None:
    """Enter if that is possible at once; give what the gate was entered with."""
    place = ticket()
    return place if gate.try_enter(session, place) else None


def test_a_full_pool_whose_database_answers_nobody_is_an_outage() -> None:
    gate = Gate(2, 0.1)
    assert all(entered(gate, session) for session in "xy")
    gate.failed("the network is gone")
    with pytest.raises(StoreConnectionError, match=r"pool.*answers nobody.*the network is gone"):
        gate.enter("z", ticket())


def refusal_behind(gate: Gate, served: float = math.inf, *, fail: bool = False) -> type:
    """Have one wait in vain behind 60 others, who are answered until some time has passed."""
    return _refusal_and_pause(gate, served, fail=fail)[0]


def _refusal_and_pause(gate: Gate, served: float, *, fail: bool) -> tuple[type, float]:
    """Give the longest pause between two answers, too."""
    end = math.inf
    over = Event()
    answers = [(time.monotonic(), 0.0)]

    def come_again() -> None:
        while not over.is_set():
            with suppress(StoreUnavailableError):
                place = ticket()
                gate.enter("crowd", place)
                over.wait(0.03 * gate._timeout if time.monotonic() < end else 60)
                if fail:
                    gate.failed("one got no answer")
                before = time.monotonic()
                gate.leave(place, answered=True)
                answers.append((before, time.monotonic()))

    with ThreadPoolExecutor(60) as pool:
        for _ in range(60):
            pool.submit(come_again)
        wait_until(lambda: len(gate._waiting) > 50, "they do not wait")
        end = time.monotonic() + served
        try:
            # Before those in front of it give up, and leave it their place.
            soon = deadline_after(0.8 * gate._timeout)
            with until(soon), pytest.raises(StoreUnavailableError) as told:
                gate.enter("crowd", ticket())
        finally:
            answers.append((math.inf, time.monotonic()))
            over.set()
    answers.sort()
    return told.type, max(after - before for (before, _), (_, after) in pairwise(answers))


def test_a_full_pool_whose_database_answers_is_busy() -> None:
    for timeout in (1, 4, 16):  # a machine that is busy itself makes pauses, too
        told, pause = _refusal_and_pause(Gate(1, timeout), math.inf, fail=False)
        if pause < timeout / 10:
            break
    assert told is StoreBusyError


def test_in_doubt_a_wait_for_a_session_is_a_timeout() -> None:
    """One who waits when a database falls silent came a moment before: so somebody was answered."""
    assert refusal_behind(Gate(1, 0.4), 0.15) is StoreTimeoutError
    assert refusal_behind(Gate(1, 0.05), fail=True) is StoreTimeoutError
    with until(time.monotonic() + 0.03):  # the most of its time was spent before
        assert refusal_behind(Gate(1, 5)) is StoreTimeoutError
    with until(time.monotonic() - 1):
        assert refusal_behind(Gate(1, 5)) is StoreTimeoutError


def test_calls_that_wait_for_a_session_do_not_delay_others() -> None:
    gate = Gate(6, 5)
    places = [entered(gate, "x") for _ in range(2)]

    def leave(place: Ticket | None) -> None:
        assert place is not None
        gate.leave(place, answered=True)

    async def main() -> None:
        waiting = asyncio.create_task(gate.aenter("x", ticket()))
        given_up = asyncio.create_task(gate.aenter("x", ticket()))
        await asyncio.sleep(0)
        assert not entered(gate, "x")
        others = [entered(gate, session) for session in "abcd"]
        assert not entered(gate, "e")
        leave(others[0])
        assert entered(gate, "e")
        given_up.cancel()
        leave(places[0])
        await waiting
        with pytest.raises(asyncio.CancelledError):
            await given_up
        leave(places[1])
        assert entered(gate, "x")  # who was cancelled has left no trace

    asyncio.run(main())


def test_a_ping_works_while_the_pool_is_full(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    options = {"pool_size": 1, "pool_timeout": 0.2}
    with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
        store = DbSessionStore(db)
        call(store, "ping")
        loops = db._current().of_loops.all()
        gate = (loops or [db._current()])[0].gate  # type: ignore[union-attr]
        assert gate is not None
        place = entered(gate, "x")
        assert place is not None
        with pytest.raises(StoreConnectionError, match="pool"):
            call(store, "append_message", "a", say())
        call(store, "ping")
        gate.leave(place, answered=True)
        assert call(store, "append_message", "a", say()) == 1
        call(db, "close")


@pytest.mark.usefixtures("made")
def test_a_dead_server_behind_a_full_pool_is_an_outage(
    postgres: PostgresServer, schema: str
) -> None:
    with Proxy(postgres.port) as proxy:
        options = {"pool_size": 3}
        db = PostgresAgentDb(
            postgres.url(port=proxy.port),
            schema=schema,
            statement_timeout=0.8,
            engine_options=options,
        )
        store = DbSessionStore(db)
        wait_until(lambda: _answers(store), "it does not answer")
        proxy.stall()

        def read(number: int) -> Exception:
            with pytest.raises((StoreConnectionError, StoreTimeoutError)) as told:
                store.get_messages(f"s{number}")
            return told.value

        with ThreadPoolExecutor(8) as pool:
            errors = list(pool.map(read, range(8)))
        assert sum(isinstance(error, StoreConnectionError) for error in errors) >= 5
        with pytest.raises(StoreConnectionError):
            store.ping()
        proxy.carry()
        wait_until(lambda: _answers(store), "it does not answer")
        db.close()


def _answers(store: DbSessionStore) -> bool:
    try:
        store.ping()
    except StoreUnavailableError:
        return False
    return True


def test_conflicts_are_retried_a_few_times_with_pauses(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema, statement_timeout=5) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        with psycopg.connect(postgres.url(), autocommit=True) as admin:
            admin.execute(
                f"""
                CREATE SEQUENCE {schema}.tries;
                CREATE FUNCTION {schema}.conflict() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN
                    PERFORM nextval('{schema}.tries');
                    RAISE serialization_failure;
                END $$;
                CREATE TRIGGER conflict BEFORE INSERT ON {schema}.sessionstore_messages
                FOR EACH ROW EXECUTE FUNCTION {schema}.conflict()""".encode()
            )
            began = time.monotonic()
            with pytest.raises(StoreBusyError, match="concurrent writes"):
                call(store, "append_message", "s", say())
            took = time.monotonic() - began
            tries = admin.execute(f"SELECT last_value FROM {schema}.tries".encode()).fetchone()
        assert tries == (10,)
        assert 0.2 < took < 3
        call(db, "close")


@pytest.mark.usefixtures("made")
def test_conflicts_are_not_retried_past_the_deadline(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        with psycopg.connect(postgres.url(), autocommit=True) as admin:
            admin.execute(
                f"""
                CREATE FUNCTION {schema}.conflict() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE deadlock_detected; END $$;
                CREATE TRIGGER conflict BEFORE INSERT ON {schema}.sessionstore_messages
                FOR EACH ROW EXECUTE FUNCTION {schema}.conflict()""".encode()
            )
        # Which of the two depends on where the time is up: between two tries, or in one.
        with (
            Stopwatch() as watch,
            until(time.monotonic() + 0.25),
            pytest.raises((StoreBusyError, StoreTimeoutError)),
        ):
            call(store, "append_message", "s", say())
        assert watch.seconds < 0.75  # all tries together take about a second
        call(db, "close")
