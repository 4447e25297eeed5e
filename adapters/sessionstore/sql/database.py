"""`AgentDb`: an SQL database, its connections, sync and async, and the tables in it."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from sqlalchemy import URL, Engine
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from sessionstore._runtime.forks import at_fork, left_to_parent
from sessionstore._runtime.frames import hides_arguments
from sessionstore._runtime.tickets import Ticket, ticket
from sessionstore.deadline import deadline_after
from sessionstore.errors import SessionStoreError, StoreTimeoutError
from sessionstore.flow import aplay, play
from sessionstore.sql.counting import counted_connections
from sessionstore.sql.engines import Engines, OfLoop
from sessionstore.sql.gate import Gate
from sessionstore.sql.making import (
    async_engine,
    blocking_engine,
    gates_of,
    require_driver,
    with_driver,
    without_pool,
)
from sessionstore.sql.options import require_options
from sessionstore.sql.preparing import prepared
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.retrying import ainsist, insist
from sessionstore.sql.sqlite_engine import KeptConnection, SqliteFile, sqlite_engine
from sessionstore.sql.sqlite_runs import SqliteRuns
from sessionstore.sql.tables import DEFAULT_PREFIX, Migration, Tables, tables_of
from sessionstore.sql.transactions import carried_out
from sessionstore.sql.urls import NO_URL, is_in_memory, place_of, sqlite_timeout, url_of
from sessionstore.stats import StoreConnections

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AgentDb"]

T = TypeVar("T")


class AgentDb:
    """An SQL database through SQLAlchemy 2, sync and async, with the tables of a store.

    One object serves any number of threads, event loops and stores, with one pool of connections
    for all threads, and one for each event loop, closed with that loop. An object made before a
    fork may be used after it. Tables are created at the first use; any number of processes may
    start on an empty database at once.

    PostgreSQL, SQLite, MySQL and MariaDB are known; `PostgresAgentDb` and `SqliteAgentDb` offer
    what those two have more. MySQL and MariaDB are experimental: MariaDB is tested where it is
    installed, MySQL is not. Through psycopg there are no server-side prepared statements (but
    for `PostgresAgentDb`, where no pooler is in between), and nothing leans on the session of a
    connection, as PgBouncer in transaction mode wants it.

    A URL may name a driver, as in ``postgresql+asyncpg://``: it serves the sync methods or the
    async ones, whichever it is made for, or an error says that it is not installed. The others are
    served by the first that is installed of psycopg and psycopg2; pymysql, mysqlclient and asyncmy;
    sqlite3.

    Example:
        >>> from sessionstore import AgentDb
        >>> AgentDb("postgresql://alice:secret@db.example/chat")
        AgentDb('postgresql+psycopg://db.example/chat')

    Args:
        database: SQLAlchemy's URL, or an engine, sync or async. An engine that is given is used
            as it is, never closed, and an ``AsyncEngine`` only on the event loop that it belongs
            to; the methods of the other kind get an engine of their own, made from the same URL.
        schema: The PostgreSQL schema for the tables (MySQL: the database); ``None`` for the
            connection's own.
        table_prefix: What the name of every table starts with.
        create_schema: Create the tables when they are missing, and on PostgreSQL the ``schema``,
            too. Otherwise a missing one is an error, and `ddl` gives what to run.
        engine_options: Further options of SQLAlchemy's ``create_engine`` for the engines that are
            made here, such as ``pool_size``: the most connections of a process and of each event
            loop, 15 unless said otherwise, opened when they are needed.

    Raises:
        ValueError: The URL or the prefix is not usable. In a URL the user, the password and
            values are percent-encoded: ``@`` is ``%40``, ``/`` is ``%2F``, ``?`` is ``%3F``.
        ImportError: The URL's driver is not installed.
    """

    _migrations: ClassVar[tuple[Migration, ...]] = ()
    _is_in_time: ClassVar[bool] = False
    """Its connections keep the call's time by themselves, and know what they left behind."""

    @hides_arguments
    def __init__(
        self,
        database: str | URL | Engine | AsyncEngine,
        *,
        schema: str | None = None,
        table_prefix: str = DEFAULT_PREFIX,
        create_schema: bool = True,
        **engine_options: Any,
    ) -> None:
        """Name the database; nothing is opened yet."""
        _require_schema(schema, table_prefix, create_schema)
        given = database if isinstance(database, (Engine, AsyncEngine)) else None
        self._url = given.url if given is not None else url_of(cast("str | URL", database))
        self._dialect_name = self._url.get_backend_name()
        self._given = given
        self._place = place_of(self._url)
        self._in_thread = self._dialect_name == "sqlite" and not self._url.get_dialect().is_async
        self._options = engine_options
        if given is None:
            require_options(self._url)
        is_file = given is None and self._dialect_name == "sqlite"
        self._timeout = sqlite_timeout(self._url, engine_options) if is_file else None
        self._tables = tables_of(table_prefix, schema, self._migrations)
        self._create_schema = create_schema
        self._closed = False
        self._start()
        at_fork(in_child=self._start_anew)
        if given is None:
            self._require_driver()

    def __repr__(self) -> str:
        """Tell driver, host and database: nothing of what a password may be in."""
        url, port = self._url, f":{self._url.port}" if self._url.port else ""
        place = f"{url.drivername}://{url.host or ''}{port}/{url.database or ''}"
        return f"{type(self).__name__}({place!r})"

    @property
    def tables(self) -> Tables:
        """The tables, as SQLAlchemy knows them."""
        return self._tables

    @property
    def dialect_name(self) -> str:
        """The kind of database in SQLAlchemy's words, such as ``"postgresql"`` or ``"sqlite"``."""
        return self._dialect_name

    @property
    def timeout(self) -> float | None:
        """How long an operation may take, in seconds, all that is done in it included.

        ``None`` where no bound is known: with an engine that was given, and with drivers whose
        timeouts are set by ``connect_args``.
        """
        return self._timeout

    def ddl(self) -> str:
        """Give the SQL that creates the tables, for a team's own migrations.

        Returns:
            Statements that each end with a semicolon.
        """
        dialect = self._url.get_dialect()()
        return "".join(f"{statement};\n" for statement in self._tables.ddl(dialect))

    def look_again(self) -> None:
        """Have the tables looked for at the next operation, and made, as at the first one."""
        self._engines.look_again()

    def connections(self) -> StoreConnections:
        """Count the connections of this process, of all its threads and event loops.

        Those of an engine that was given are counted, whoever uses them. No server is asked.
        """
        if self._given is None and self._dialect_name == "sqlite":
            return self._runs().connections(self._engines.all())
        given = self._given.sync_engine if isinstance(self._given, AsyncEngine) else self._given
        engines = [*([given] if given is not None else []), *self._engines.all()]
        return counted_connections(engines, most=self._engines.most)

    # -- Operations -------------------------------------------------------------------------------

    def send(self, work: Work[T]) -> T:
        """Carry out some work on a blocking connection, and try again where that is safe.

        The tables are created or migrated first, where this is the first use.

        Args:
            work: What to do.

        Returns:
            Its reply.

        Raises:
            StoreUnavailableError: The database can't be reached, is busy, or read-only.
            SessionStoreError: It refuses, or its tables are missing or of a newer version.
        """
        if self._closed:
            raise SessionStoreError("this database is closed")
        engines, call = self._current(), ticket()
        is_file = self._dialect_name == "sqlite"
        once = self._runs().run if is_file else partial(self._passed, engines, call)
        try:
            if not engines.ready:
                play(self._first_use(engines), partial(insist, once))
            reply: T = insist(once, work)
        except Exception:
            raise
        except BaseException:  # Ctrl-C, between any two steps
            if engines.gate:
                engines.gate.give_back(call)
            raise
        return reply

    async def asend(self, work: Work[T]) -> T:
        """Async twin of `send`; on SQLite one hop to a thread."""
        if self._closed:
            raise SessionStoreError("this database is closed")
        engines = self._current()
        once = self._runs().arun if self._in_thread else partial(self._apassed, engines)
        if not engines.ready:
            await aplay(self._first_use(engines), partial(ainsist, once))
        reply: T = await ainsist(once, work)
        return reply

    def _first_use(self, engines: Engines) -> SqlFlow[None]:
        return prepared(engines, self._tables, create_schema=self._create_schema)

    def _passed(self, engines: Engines, place: Ticket, work: Work[Any]) -> object:
        """Carry out some work once, when the gate before the pool lets it pass."""
        gate, began = engines.gate, None
        if gate is None:
            return self._carried(self._sync(), work)
        if not gate.try_enter(work.session, place):
            if work.may_exceed_pool:
                return self._carried(self._make_engine(without_pool(self._options)), work)
            began = time.monotonic()
            gate.enter(work.session, place)
        try:
            engine = engines.of_threads or self._sync()
            reply = None if work.is_done() else self._carried(engine, work)
        except BaseException as error:
            gate.leave_failed(place, began, error)
            raise
        gate.leave(place, answered=True)
        return reply

    async def _apassed(self, engines: Engines, work: Work[Any]) -> object:
        """Async twin of `_passed`."""
        if isinstance(self._given, AsyncEngine):
            return await self._acarried(self._given, work)
        mine = engines.of_running_loop() or await self._of_loop()
        gate = mine.gate
        if gate is None:
            return await self._acarried(mine.engine, work)
        place, began = ticket(), None
        if not gate.try_enter(work.session, place):
            if work.may_exceed_pool:
                engine = self._make_async_engine(without_pool(self._options))
                return await self._acarried(engine, work)
            began = time.monotonic()
            await gate.aenter(work.session, place)
        try:
            reply = None if work.is_done() else await self._acarried(mine.engine, work)
        except BaseException as error:
            gate.leave_failed(place, began, error)
            raise
        gate.leave(place, answered=True)
        return reply

    def _carried(self, engine: Engine, work: Work[Any]) -> object:
        return carried_out(engine, work, self._place, notes_lost=not self._is_in_time)

    async def _acarried(self, engine: AsyncEngine, work: Work[Any]) -> object:
        if self._dialect_name == "sqlite":
            return await self._runs().arun_on(engine, work)
        # AsyncConnection does the same in several such steps, and in a task of its own to close.
        spawned = greenlet_spawn(AgentDb._carried, self, engine.sync_engine, work)
        deadline = None if self._is_in_time else deadline_after(None)
        if deadline is None:
            return await spawned
        try:
            return await asyncio.wait_for(spawned, max(0.0, deadline - time.monotonic()))
        except asyncio.TimeoutError:
            raise StoreTimeoutError("the database did not answer within its timeout") from None

    def close(self) -> None:
        """Close the connections that were opened here; later operations are refused."""
        self._closed = True
        self._current().dispose()
        self._dispose_runs()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        self._closed = True
        engines = self._current()
        await engines.of_loops.aclose()
        await asyncio.to_thread(engines.dispose)
        await asyncio.to_thread(self._dispose_runs)

    def __enter__(self) -> Self:
        """Give the database, to be closed when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database."""
        self.close()

    async def __aenter__(self) -> Self:
        """Give the database, to be closed when the block ends."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the database."""
        await self.aclose()

    def _dispose_runs(self) -> None:
        if self._sqlite_runs is not None:
            self._sqlite_runs.dispose()

    # -- Connections ------------------------------------------------------------------------------

    def _sync(self) -> Engine:
        if isinstance(self._given, Engine):
            return self._given
        if self._dialect_name == "sqlite":
            return self._runs().engine()
        return self._current().blocking(self._new_engine)

    async def _of_loop(self) -> OfLoop:
        return self._current().of_this_loop(self._new_async_engine)

    def _require_driver(self) -> None:
        try:
            require_driver(self._url)
            if not self._url.get_dialect().is_async:
                self._sync()
        except ArgumentError:
            raise ValueError(NO_URL) from None

    def _new_engine(self) -> Engine:
        return self._make_engine(self._options)

    def _new_async_engine(self) -> AsyncEngine:
        return self._make_async_engine(self._options)

    def _make_engine(self, options: dict[str, Any]) -> Engine:
        return blocking_engine(self._url, options)

    def _make_async_engine(self, options: dict[str, Any]) -> AsyncEngine:
        return async_engine(self._url, options, self._sqlite_file())

    def _gates(self) -> Callable[[], Gate] | None:
        if self._given is not None or self._dialect_name == "sqlite":
            return None
        return gates_of(self._url, self._options)

    def _start(self) -> None:
        # Neither must know this object, with which both end.
        self._engines = Engines(self._gates())
        self._sqlite_runs = self._new_runs() if self._dialect_name == "sqlite" else None
        self._finalizers = [weakref.finalize(self, self._engines.dispose)]
        if self._sqlite_runs is not None:
            self._finalizers.append(weakref.finalize(self, self._sqlite_runs.dispose))

    def _start_anew(self) -> None:
        """In a forked child: no connection crosses a fork, nor is closed on the far side of it."""
        for finalizer in self._finalizers:
            finalizer.detach()
        left_to_parent((self._engines, self._sqlite_runs))
        self._start()

    def _current(self) -> Engines:
        return self._engines

    def _runs(self) -> SqliteRuns:
        return cast("SqliteRuns", self._sqlite_runs)

    def _new_runs(self) -> SqliteRuns:
        in_memory = self._given is None and is_in_memory(self._url)
        taken_away = self._engines.look_again
        return SqliteRuns(self._new_file_engine(), self._timeout, taken_away, in_memory=in_memory)

    def _new_file_engine(self) -> Callable[[list[KeptConnection] | None], Engine]:
        if isinstance(self._given, Engine):
            given = self._given
            return lambda _: given
        url = with_driver(self._url, is_async=False)
        return partial(sqlite_engine, url, self._options, self._sqlite_file())

    def _sqlite_file(self) -> SqliteFile:
        return SqliteFile()


def _require_schema(schema: object, table_prefix: object, create_schema: object) -> None:
    if schema is not None and not isinstance(schema, str):
        raise TypeError(f"schema must be a string or None, not {type(schema).__name__}")
    if not isinstance(table_prefix, str):
        raise TypeError(f"table_prefix must be a string, not {type(table_prefix).__name__}")
    if type(create_schema) is not bool:
        kind = type(create_schema).__name__
        raise TypeError(f"create_schema must be True or False, not {kind}")
