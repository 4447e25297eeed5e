"""What a connection that was given up left behind: it took effect, or it never will."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from conftest import Call
from servers.postgres import PostgresServer
from servers.process import wait_until
from sqlalchemy import make_url

from sessionstore import (
    AgentDb,
    DbSessionStore,
    PostgresAgentDb,
    SessionMessage,
    StoreUnavailableError,
)
from sessionstore.sql import unsettled

_WORKING = (
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
)


def say(text: str = "hello", **fields: Any) -> SessionMessage:
    return SessionMessage("user", text, **fields)


class Holding:
    """A way to a server that can hold what goes there on the connections that are open.

    What is held is brought later, also when the client has left: as a network does that has
    lost nothing.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._lines: list[dict[str, Any]] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Hold what goes to the server from now on, on the connections that are there."""
        for line in self._lines:
            line["held"] = threading.Event()

    def holds(self) -> bool:
        """Tell whether anything came since that is held."""
        return any("late" in line for line in self._lines)

    def bring(self) -> None:
        """Bring what is held."""
        for line in self._lines:
            line["held"].set()

    def close(self) -> None:
        self.bring()
        for end in (self._listener, *self._sockets):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._upstream))
                through = threading.Event()
                through.set()
                line: dict[str, Any] = {"held": through}
                self._lines.append(line)
                self._sockets += [near, far]
                for ends, held in (((near, far), line), ((far, near), None)):
                    threading.Thread(target=_pump, args=(*ends, held), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, line: dict[str, Any] | None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if line is not None and not line["held"].is_set():
                line["late"] = data
                line["held"].wait()
            target.sendall(data)
    if line is not None:
        line["held"].wait()
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def holding(postgres: PostgresServer) -> Iterator[Holding]:
    held = Holding(postgres.port)
    yield held
    held.close()


@pytest.fixture
def made(postgres: PostgresServer, schema: str) -> DbSessionStore:
    """Have the tables and a session, and what looks at them around the network."""
    store = DbSessionStore(PostgresAgentDb(postgres.url(), schema=schema))
    store.append_message("s", say(id="old"))
    return store


def ids(store: DbSessionStore) -> list[Any]:
    return [message.id for message in store.get_messages("s")]


def test_a_write_that_arrives_late_has_no_effect(
    holding: Holding, postgres: PostgresServer, schema: str, made: DbSessionStore, call: Call
) -> None:
    """It was told to have failed, and what came after it was acknowledged."""
    url = postgres.url(port=holding.port)
    with PostgresAgentDb(url, schema=schema, statement_timeout=1) as db:
        store = DbSessionStore(db)
        call(store, "ping")
        holding.hold()
        with pytest.raises(StoreUnavailableError):
            call(store, "append_message", "s", say(id="late"))
        assert [message.id for message in call(store, "get_messages", "s")] == ["old"]
        call(store, "append_message", "s", say(id="new"))
        holding.bring()
        wait_until(lambda: _nobody_works(postgres), "the old process stays")
        assert ids(made) == ["old", "new"]
        assert db._place not in unsettled.UNSETTLED
        call(db, "close")


def _nobody_works(postgres: PostgresServer) -> bool:
    with psycopg.connect(postgres.url(), autocommit=True) as watching:
        return watching.execute(_WORKING).fetchone() == (0,)


@pytest.mark.soak
@pytest.mark.parametrize("driver", ["ours", "postgresql+psycopg", "postgresql+asyncpg"])
def test_a_task_cancelled_while_its_write_is_delayed_is_settled(
    holding: Holding, postgres: PostgresServer, schema: str, made: DbSessionStore, driver: str
) -> None:
    url = make_url(postgres.url(port=holding.port))

    async def main() -> None:
        if driver == "ours":
            db: AgentDb = PostgresAgentDb(
                postgres.url(port=holding.port), schema=schema, statement_timeout=4
            )
        else:
            db = AgentDb(url.set(drivername=driver), schema=schema)
        async with db:
            store = DbSessionStore(db)
            await store.aping()
            holding.hold()
            began = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(store.aappend_message("s", say(id="late")), 0.2)
            assert time.monotonic() - began < 11
            seen = [message.id for message in await store.aget_messages("s")]
            assert seen == ["old"]
            await store.aappend_message("s", say(id="new"))
            holding.bring()
            await asyncio.to_thread(wait_until, lambda: _nobody_works(postgres), "it stays")
            assert ids(made) == ["old", "new"]

    asyncio.run(main())


@pytest.mark.parametrize("driver", ["ours", "postgresql+asyncpg"])
def test_a_task_cancelled_while_its_write_waits_for_a_lock_is_settled(
    postgres: PostgresServer, schema: str, made: DbSessionStore, driver: str
) -> None:
    async def main() -> None:
        url = postgres.url()
        if driver == "ours":
            db: AgentDb = PostgresAgentDb(url, schema=schema)
        else:
            db = AgentDb(make_url(url).set(drivername=driver), schema=schema)
        async with db:
            store = DbSessionStore(db)
            await store.aping()
            with psycopg.connect(url) as other:
                lock = f"SELECT FROM {schema}.sessionstore_sessions FOR UPDATE"
                other.execute(lock.encode())
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(store.aappend_message("s", say(id="late")), 0.2)
                assert len(await store.aget_messages("s")) == 1
                other.rollback()
            await store.aappend_message("s", say(id="new"))
            assert ids(made) == ["old", "new"]

    asyncio.run(main())


@pytest.mark.soak
def test_a_write_to_a_server_that_hung_is_settled_when_it_goes_on(schema: str) -> None:
    server = PostgresServer()
    try:
        with PostgresAgentDb(server.url(), schema=schema, statement_timeout=1) as db:
            store = DbSessionStore(db)
            store.append_message("s", say(id="old"))
            server.freeze()
            with pytest.raises(StoreUnavailableError):
                store.append_message("s", say(id="late"))
            server.thaw()
            first = ids(store)
            store.append_message("s", say(id="new"))
            # It has taken effect by then or it never will: what was read stays so.
            assert ids(store) == [*first, "new"]
    finally:
        server.stop()


@pytest.mark.soak
def test_without_the_right_to_end_a_process_its_end_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = PostgresServer()
    try:
        with psycopg.connect(server.url(), autocommit=True) as admin:
            admin.execute("CREATE ROLE app LOGIN PASSWORD 'x'")
            admin.execute("GRANT CREATE ON DATABASE postgres TO app")
            admin.execute("GRANT CREATE ON SCHEMA public TO app")
            admin.execute("REVOKE EXECUTE ON FUNCTION pg_terminate_backend FROM PUBLIC")
        url = make_url(server.url()).set(username="app", password="x")  # noqa: S106
        named = url.render_as_string(hide_password=False)
        with PostgresAgentDb(named, statement_timeout=1) as db:
            store = DbSessionStore(db)
            store.append_message("s", say(id="old"))
            for number in range(2):
                server.freeze()
                with pytest.raises(StoreUnavailableError):
                    store.append_message("s", say(id=f"late {number}"))
                server.thaw()
                first = ids(store)
                assert db._place not in unsettled.UNSETTLED
                store.append_message("s", say(id=f"new {number}"))
                assert ids(store) == [*first, f"new {number}"]
    finally:
        server.stop()
    assert [record.message for record in caplog.records].count(unsettled._NOT_ENDED) == 1


@pytest.mark.soak
def test_a_delayed_write_is_settled_after_ctrl_c(
    holding: Holding, postgres: PostgresServer, schema: str, made: DbSessionStore
) -> None:
    url = postgres.url(port=holding.port)

    def interrupt() -> None:
        wait_until(holding.holds, "the write does not come")
        os.kill(os.getpid(), signal.SIGINT)

    with PostgresAgentDb(url, schema=schema, statement_timeout=60) as db:
        store = DbSessionStore(db)
        store.ping()
        holding.hold()
        thread = threading.Thread(target=interrupt)
        thread.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            store.append_message("s", say(id="late"))
        assert time.monotonic() - began < 50
        thread.join()
        store.append_message("s", say(id="new"))
        holding.bring()
        wait_until(lambda: _nobody_works(postgres), "it stays")
        assert ids(made) == ["old", "new"]


def test_another_process_of_the_same_number_is_left_alone(
    postgres: PostgresServer, made: DbSessionStore
) -> None:
    """The name may lead to another server by now."""
    with psycopg.connect(postgres.url(), autocommit=True) as bystander:
        place = made._db._place
        unsettled.note(place, unsettled.Backend(bystander.info.backend_pid, "1.5"))
        made.append_message("s", say(id="new"))
        assert place not in unsettled.UNSETTLED
        assert bystander.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("owner", ["ours", "theirs"])
def test_a_write_after_one_cancelled_in_pipeline_mode_is_committed(
    postgres: PostgresServer, schema: str, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was left in pipeline mode would commit nothing more."""
    single = {"pool_size": 1, "max_overflow": 0}
    entered = psycopg.AsyncPipeline.__aenter__
    due = [1]

    async def cancelled(pipeline: psycopg.AsyncPipeline) -> psycopg.AsyncPipeline:
        if due and due.pop():
            task: Any = asyncio.current_task()
            task.cancel()
            time.sleep(0.2)  # noqa: ASYNC251 - psycopg then gives way to others as it enters
        return await entered(pipeline)

    async def main() -> None:
        if owner == "ours":
            db: AgentDb = PostgresAgentDb(postgres.url(), schema=schema, engine_options=single)
        else:
            url = make_url(postgres.url()).set(drivername="postgresql+psycopg")
            db = AgentDb(url, schema=schema, **single)
        async with db:
            store = DbSessionStore(db)
            await store.aappend_message("s", say("hello"))
            monkeypatch.setattr(psycopg.AsyncPipeline, "__aenter__", cancelled)
            with pytest.raises(asyncio.CancelledError):
                await store.aupdate("s", messages=[say("one"), say("two")])
            assert not due
            await store.aappend_message("s", say("acknowledged"))
            assert _committed(postgres, schema, "s") == 2

    asyncio.run(main())


def _committed(postgres: PostgresServer, schema: str, session_id: str) -> int:
    with psycopg.connect(postgres.url()) as connection:
        statement = f"SELECT message_count FROM {schema}.sessionstore_sessions WHERE id = %s"
        found = connection.execute(statement.encode(), [session_id]).fetchone()
        return int(found[0]) if found else 0
