"""Each driver of a database: the one that is named is the one that works."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import empty
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary
from servers.postgres import PostgresServer
from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from sessionstore import (
    AgentDb,
    DbSessionStore,
    SessionLeasedError,
    SessionMessage,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.operations import (
    AcquireLease,
    Append,
    Fence,
    GetMessages,
    ReleaseLease,
    RenewLease,
)
from sessionstore.sql.requests import Work
from sessionstore.testing import OpenStore
from sessionstore.testing.appending import AppendContract

pytestmark = pytest.mark.soak

_BLOCKING = ["postgresql+psycopg", "postgresql+psycopg2"]
_ASYNC = ["postgresql+psycopg", "postgresql+asyncpg"]
if mariadb_binary():
    _BLOCKING += ["mysql+pymysql"]
    _ASYNC += ["mysql+asyncmy"]


def say(**fields: Any) -> SessionMessage:
    return SessionMessage("user", "hello", **fields)


@dataclass(frozen=True)
class Database:
    """An empty database on a server that a test may kill.

    Attributes:
        server: The server.
        url: The database's URL, which names a driver.
        options: Further arguments for `AgentDb`.
        is_async: Whether the driver is an async one.
    """

    server: PostgresServer | MariadbServer
    url: str
    options: dict[str, Any]
    is_async: bool

    def restart(self) -> None:
        self.server.kill()
        self.server.start()

    def engine(self, **options: Any) -> Any:
        make: Any = create_async_engine if self.is_async else create_engine
        return make(self.url, **options)


@pytest.fixture(scope="module")
def mortal_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


def _make(request: pytest.FixtureRequest, driver: str, is_async: bool) -> Database:
    schema: str = request.getfixturevalue("schema")
    if driver.startswith("postgresql"):
        postgres = request.getfixturevalue("mortal_postgres")
        url = make_url(postgres.url()).set(drivername=driver)
        return Database(
            postgres, url.render_as_string(hide_password=False), {"schema": schema}, is_async
        )
    mariadb = request.getfixturevalue("mariadb")
    mariadb.execute(f"CREATE DATABASE {schema}")
    url = make_url(mariadb.url(schema)).set(drivername=driver)
    return Database(mariadb, str(url), {}, is_async)


@pytest.fixture(
    params=[*(("sync", d) for d in _BLOCKING), *(("async", d) for d in _ASYNC)], ids="+".join
)
def database(request: pytest.FixtureRequest) -> Database:
    kind, driver = request.param
    return _make(request, driver, kind == "async")


class Caller:
    """Calls the sync or the async methods, as the driver is; the async ones on one loop."""

    def __init__(self, *, is_async: bool) -> None:
        self._loop = asyncio.new_event_loop() if is_async else None

    def __call__(self, store: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._loop is None:
            return getattr(store, name)(*args, **kwargs)
        return self._loop.run_until_complete(getattr(store, f"a{name}")(*args, **kwargs))

    def at_once(self, store: Any, name: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
        """Make many calls at the same time."""
        if self._loop is None:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda call: getattr(store, name)(call[0], **call[1]), calls))
            return

        async def gather() -> None:
            method = getattr(store, f"a{name}")
            await asyncio.gather(*(method(first, **others) for first, others in calls))

        self._loop.run_until_complete(gather())

    def on(self, engine: Any, work: Callable[[Connection], Any]) -> Any:
        """Carry out some work on a connection of an engine, and commit nothing."""
        if self._loop is None:
            with engine.connect() as connection:
                return work(connection)

        async def run() -> Any:
            async with engine.connect() as connection:
                return await connection.run_sync(work)

        return self._loop.run_until_complete(run())

    def dispose(self, engine: Any) -> None:
        """Close an engine of a test's own."""
        done = engine.dispose()
        if self._loop is not None:
            self._loop.run_until_complete(done)

    def end(self) -> None:
        """End the loop."""
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


@pytest.fixture
def caller(database: Database) -> Iterator[Caller]:
    caller = Caller(is_async=database.is_async)
    yield caller
    caller.end()


def _driver_of(db: AgentDb, *, is_async: bool) -> str:
    def work(connection: Any) -> str:
        driver = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):  # or a subclass of ours
            return "sqlite3"
        return type(driver).__module__.partition(".")[0]

    asked = Work(work, at_once=True, repeatable=True)
    return asyncio.run(db.asend(asked)) if is_async else db.send(asked)


# -- Names ----------------------------------------------------------------------------------------


def test_the_driver_that_is_named_is_the_one_that_works(database: Database) -> None:
    named = make_url(database.url).get_driver_name()
    with AgentDb(database.url, **database.options) as db:
        assert make_url(database.url).drivername in repr(db)
        module = _driver_of(db, is_async=database.is_async)
        assert module == ("sessionstore" if named == "none" else named)


def test_sync_and_async_methods_have_a_driver_each(
    postgres: PostgresServer, schema: str, tmp_path: Path
) -> None:
    for name, is_async, other in (("psycopg2", True, "psycopg"), ("asyncpg", False, "psycopg")):
        url = postgres.url().replace("://", f"+{name}://")
        with AgentDb(url, schema=schema) as db:
            assert _driver_of(db, is_async=is_async) == other
    with AgentDb(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}") as db:
        assert _driver_of(db, is_async=False) == "sqlite3"
        assert _driver_of(db, is_async=True) == "aiosqlite"


def test_a_database_in_memory_refuses_an_async_driver() -> None:
    with pytest.raises(ValueError, match="in memory"):
        AgentDb("sqlite+aiosqlite://")


# -- The contract ---------------------------------------------------------------------------------


def _open(url: str, schema: str | None, **options: Any) -> DbSessionStore:
    return DbSessionStore(AgentDb(url, schema=schema), **options)


def _emptied(url: str, schema: str) -> OpenStore:
    with AgentDb(url, schema=schema) as db:
        DbSessionStore(db).ping()
        empty(db)
    return partial(_open, url, schema)


@pytest.mark.parametrize("stores", ["sync"], indirect=True)
class TestPsycopg2(AppendContract):
    """In blocking calls; the async ones are psycopg's, and tested as such."""

    @pytest.fixture
    def open_store(self, postgres: PostgresServer) -> OpenStore:
        return _emptied(postgres.url().replace("://", "+psycopg2://"), "by_psycopg2")


@pytest.mark.parametrize("stores", ["async"], indirect=True)
class TestAsyncpg(AppendContract):
    """In async calls; the blocking ones are psycopg's, and tested as such."""

    @pytest.fixture
    def open_store(self, postgres: PostgresServer) -> OpenStore:
        return _emptied(postgres.url().replace("://", "+asyncpg://"), "by_asyncpg")


@pytest.mark.parametrize("stores", ["async"], indirect=True)
class TestSqliteByItsAsyncDriver(AppendContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(_open, f"sqlite+aiosqlite:///{tmp_path / 'x.db'}", None)


def test_a_lease_by_each_driver(database: Database, caller: Caller) -> None:
    with AgentDb(database.url, **database.options) as db:
        store = DbSessionStore(db)
        token = caller(store, "run", AcquireLease("s", holder="me"))
        assert caller(store, "run", AcquireLease("s", holder="me")) == token
        hello = say(id="m0")
        write = [Fence("s", token), Append("s", [hello]), GetMessages("s")]
        assert caller(store, "run", write)[1:] == [1, [hello]]
        with pytest.raises(SessionLeasedError) as refused:
            caller(store, "run", AcquireLease("s"))
        assert 0 < (refused.value.seconds_left or 0) <= 60
        caller(store, "run", RenewLease("s", token))
        later = caller(store, "run", AcquireLease("s", take_over=True, holder="other"))
        assert later > token
        for late in (RenewLease("s", token), Fence("s", token), write):
            with pytest.raises(SessionLeasedError):
                caller(store, "run", late)
        assert not caller(store, "run", ReleaseLease("s", "me"))
        assert caller(store, "run", ReleaseLease("s", "other"))
        assert caller(store, "run", AcquireLease("s")) > later
        assert caller(store, "get", "s").message_count == 1
        caller(store, "prune_expired")


# -- Restarts -------------------------------------------------------------------------------------


def test_a_restart_costs_the_caller_nothing(database: Database, caller: Caller) -> None:
    with AgentDb(database.url, **database.options) as db:
        store = DbSessionStore(db)
        caller(store, "append_message", "s", say(id="m0"))
        for name, arguments, options in (
            ("append_message", ("s", say()), {"expected_version": 1}),
            ("append_message", ("s", say()), {}),
            ("get_messages", ("s",), {}),
            ("replace_message", ("s", say(id="m0")), {}),
        ):
            database.restart()
            caller(store, name, *arguments, **options)
        session = caller(store, "get", "s")
        assert (session.version, len(session.messages)) == (4, 3)
        caller(db, "close")


# -- Errors ---------------------------------------------------------------------------------------


_PRIVATE = SessionMessage("user", "private", id="secret")


def test_the_error_for_a_refused_row_does_not_quote_it(database: Database, caller: Caller) -> None:
    """PostgreSQL quotes it in what its error tells beside the message."""
    place = database.options.get("schema", make_url(database.url).database)
    with AgentDb(database.url, **database.options) as db:
        store = DbSessionStore(db)
        caller(store, "append_message", "s", say(id="m0"))
        table = f"{place}.sessionstore_messages"
        with db._sync().begin() as admin:
            admin.exec_driver_sql(f"ALTER TABLE {table} ADD CHECK (position < 2)")
        with pytest.raises(SessionStoreError, match="constraint") as refused:
            caller(store, "append_message", "s", _PRIVATE)
        error: BaseException | None = refused.value
        while error is not None:
            assert "private" not in f"{error!r}{error}"
            assert "secret" not in f"{error!r}{error}"
            error = error.__cause__
        shown = "".join(traceback.format_exception(refused.value))
        assert "private" not in shown
        assert "secret" not in shown
        caller(db, "close")


def test_the_error_for_a_row_that_sqlite_refuses_does_not_quote_it(tmp_path: Path) -> None:
    with AgentDb(f"sqlite:///{tmp_path / 'x.db'}") as db:
        store = DbSessionStore(db)
        store.append_message("s", say(id="m0"))
        with db._sync().begin() as admin:
            admin.exec_driver_sql(
                "CREATE TRIGGER no BEFORE INSERT ON sessionstore_messages "
                "BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: no'); END"
            )
        with pytest.raises(SessionStoreError, match="constraint") as refused:
            store.append_message("s", _PRIVATE)
    shown = "".join(traceback.format_exception(refused.value))
    assert "private" not in shown
    assert "secret" not in shown


def test_a_server_that_never_answers_asyncpg_is_an_outage() -> None:
    """Its timeouts are asyncio's, which on Python 3.10 are no errors of the system."""

    async def main(port: int) -> None:
        url = f"postgresql+asyncpg://alice:x@127.0.0.1:{port}/x"
        async with AgentDb(url, connect_args={"timeout": 0.3}) as db:
            with pytest.raises(StoreUnavailableError):
                await DbSessionStore(db).aappend_message("s", say())

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(main(silent.getsockname()[1]))


# -- Autocommit -----------------------------------------------------------------------------------

_LEVEL = {"isolation_level": "AUTOCOMMIT"}


@pytest.mark.parametrize("how", ["engine", "option", "driver"])
def test_an_engine_in_autocommit_loses_no_update_and_stays_in_it(
    database: Database, caller: Caller, how: str
) -> None:
    options: dict[str, Any] = {"engine": _LEVEL, "driver": _by_the_driver(database)}
    engine = database.engine(**options.get(how, {}))
    given = engine.execution_options(**_LEVEL) if how == "option" else engine
    store = DbSessionStore(AgentDb(given, **database.options))
    caller(store, "append_message", "s", say(id="m0"))
    if how != "option":  # SQLAlchemy loses the stale connection, and its pool warns of it
        database.restart()
    assert caller(store, "append_message", "s", say(), expected_version=1) == 1
    caller.at_once(store, "update", [("s", {"metadata": {f"k{n}": n}}) for n in range(30)])
    info = caller(store, "get", "s")
    assert (info.version, len(info.metadata), len(info.messages)) == (32, 30, 2)
    # What the caller does with the engine is committed as before.
    place = database.options.get("schema", make_url(database.url).database)
    for statement in (
        f"CREATE TABLE {place}.theirs (x int)",
        f"INSERT INTO {place}.theirs VALUES (1)",
    ):
        caller.on(given, lambda connection, sql=statement: connection.exec_driver_sql(sql) and None)
    caller(store, "append_message", "s", say())
    count = caller.on(
        given, lambda c: c.exec_driver_sql(f"SELECT count(*) FROM {place}.theirs").scalar()
    )
    assert count == 1
    caller.dispose(engine)


def _by_the_driver(database: Database) -> dict[str, Any]:
    """Ask the driver for autocommit where it can be asked, and SQLAlchemy elsewhere."""
    takes = not database.url.startswith(("postgresql+psycopg2", "postgresql+asyncpg"))
    return {"connect_args": {"autocommit": True}} if takes else _LEVEL
