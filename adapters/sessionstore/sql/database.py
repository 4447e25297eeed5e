"""`AgentDb`: an SQL database, its connections in both colours, and the tables in it."""

from __future__ import annotations

import asyncio
import math
import os
import random
import sys
import time
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

try:
    from sqlalchemy import URL, Connection, Engine, create_engine
    from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidRequestError, SQLAlchemyError
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
    from sqlalchemy.pool import NullPool
    from sqlalchemy.util import greenlet_spawn

    from sessionstore._runtime.frames import hides_arguments
    from sessionstore._runtime.interrupts import interrupt_behind
    from sessionstore.sql.connections import (
        autocommit,
        backend_of,
        forsake,
        in_one_tongue,
        replace_stale,
        whole,
    )
    from sessionstore.sql.direct import Query, asent, sent
    from sessionstore.sql.engines import Engines, OfLoop
    from sessionstore.sql.errors import (
        FOREIGN,
        cause,
        is_answer,
        is_disconnect,
        is_missing_table,
        is_read_only,
        is_safe_to_repeat,
        is_timeout,
        is_unprepared,
        translated,
    )
    from sessionstore.sql.gate import Alone, Gate
    from sessionstore.sql.in_time import TooLittleTimeError
    from sessionstore.sql.loop_pool import LoopPool
    from sessionstore.sql.options import require_libpq, require_options
    from sessionstore.sql.secrets import Sealed
    from sessionstore.sql.sqlite_engine import SqliteFile, async_sqlite_engine, sqlite_engine
    from sessionstore.sql.sqlite_runs import SqliteRuns
    from sessionstore.sql.stale import tells_its_end
    from sessionstore.sql.tables import DEFAULT_PREFIX, Migration, Tables, tables_of
    from sessionstore.sql.unsettled import is_settled, note, settle
    from sessionstore.sql.urls import (
        KEEPALIVES,
        NO_URL,
        driver_of,
        engine_options,
        is_in_memory,
        no_driver,
        place_of,
        pool_size,
        require_encoded,
        shown_url,
        sqlite_timeout,
        url_of,
    )
except ImportError as _error:
    raise ImportError(
        "AgentDb and DbSessionStore need the sql extra: pip install 'sessionstore[sql]', or "
        "'sessionstore[postgres]' for PostgreSQL"
    ) from _error

from sessionstore._runtime.call_deadline import deadline_after
from sessionstore._runtime.tickets import Ticket
from sessionstore.arguments import checked_seconds
from sessionstore.errors import SessionStoreError, StoreTimeoutError
from sessionstore.flow import Flow
from sessionstore.sqlite.file import checked_path
from sessionstore.sqlite.identity import FileTakenAwayError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AgentDb", "PostgresAgentDb", "SqliteAgentDb", "Work", "open_db"]

T = TypeVar("T")

_TRIES = 10  # with their pauses they take about a second
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.25  # seconds
_LEAST_CONNECT = 2.0  # seconds: libpq waits no shorter


@dataclass(frozen=True)
class Work:
    """What an operation asks of the database: some statements, carried out together.

    Attributes:
        run: Carries them out on a connection, and returns the reply. It may be run again from
            its start, after what it did has been undone.
        at_once: It is a single statement, which needs no transaction around it.
        repeatable: To run it twice is as good as once: it may be sent again when the connection
            was lost before the reply.
        session: What it is about, where that is one session: its writes, or its reads.
        past_the_pool: Where all connections are in use it opens one of its own.
        is_needless: Asked once it is this work's turn; where it is, the reply is ``None``.
    """

    run: Callable[[Connection], Any]
    at_once: bool = False
    repeatable: bool = False
    session: Hashable | None = None
    past_the_pool: bool = False
    is_needless: Callable[[], bool] = bool


@dataclass(frozen=True)
class Pause:
    """A while in which an operation asks for nothing.

    Attributes:
        seconds: How long.
    """

    seconds: float


class AgentDb:
    """An SQL database through SQLAlchemy 2, in both colours, with the tables of a store.

    One object serves any number of threads, event loops and stores, with one pool of connections
    for all threads, and one for each event loop, closed with that loop. An object made before a
    fork may be used after it. Tables are created at the first use; any number of processes may
    start on an empty database at once.

    PostgreSQL, MySQL, MariaDB and SQLite are known; `PostgresAgentDb` and `SqliteAgentDb` offer
    what those two have more. Through psycopg there are no server-side prepared statements (but
    for `PostgresAgentDb`, where no pooler is in between), and nothing leans on the session of a
    connection, as PgBouncer in transaction mode wants it.

    A URL may name a driver, as in ``postgresql+asyncpg://``: that one works in its colour, or an
    error says that it is not installed. The other colour gets the first that is installed of
    psycopg and psycopg2; pymysql, mysqlclient and asyncmy; sqlite3.

    Example:
        >>> from sessionstore import AgentDb
        >>> AgentDb("postgresql://alice:secret@db.example/chat")
        AgentDb('postgresql+psycopg://db.example/chat')

    Args:
        database: SQLAlchemy's URL, or an engine of either colour. An engine that is given is
            used as it is, never closed, and an ``AsyncEngine`` only on the event loop that it
            belongs to; the other colour gets an engine of its own, made from the same URL.
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
        self._in_thread = self.dialect_name == "sqlite" and not self._url.get_dialect().is_async
        self._options = engine_options
        if given is None:
            require_options(self._url)
        is_file = given is None and self.dialect_name == "sqlite"
        self._timeout = sqlite_timeout(self._url, engine_options) if is_file else None
        self._tables = tables_of(table_prefix, schema, self._migrations)
        self._create_schema = create_schema
        self._closed = False
        # By process: a connection must not cross a fork, nor be closed on the far side of it.
        self._engines: dict[int, Engines] = {}
        self._sqlite_runs: dict[int, SqliteRuns] = {}
        if given is None:
            try:
                self._require_driver()
            except ArgumentError:
                raise ValueError(NO_URL) from None

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

    # -- Operations -------------------------------------------------------------------------------

    def operation(self, work: Work) -> Flow[Any]:
        """Carry out some work, and try again where that is safe.

        The tables are created or migrated first, where this is the first use.

        Args:
            work: What to do. `send` and `asend` are what carry out this flow's requests.

        Returns:
            The work's reply.

        Raises:
            StoreUnavailableError: The database can't be reached, is busy, or read-only.
            SessionStoreError: It refuses, or its tables are missing or of a newer version.
        """
        if self._closed:
            raise SessionStoreError("this database is closed")
        if not self._current().ready:
            yield from self._prepare()
        try:
            return (yield from self._insist(work))
        except FileTakenAwayError:
            self._current().ready = False  # another may be there now, with or without tables
            raise

    def send(self, work: Work | Pause) -> Any:
        """Carry out some work on a blocking connection, once.

        Args:
            work: What to do.

        Returns:
            Its reply.

        Raises:
            SQLAlchemyError: The database refuses, or can't be reached.
            OSError: As before, told by the operating system.
            StoreUnavailableError: No connection was free in time.
        """
        if isinstance(work, Pause):
            time.sleep(work.seconds)
            return None
        if self.dialect_name == "sqlite":
            return self._runs().run(work)
        gate = self._current().gate
        if gate is None:
            return self._carried(self._sync(), work)
        place, began = gate.try_enter(work.session), None
        if place is None:
            if work.past_the_pool:
                return self._carried(self._make_engine(self._poolless()), work)
            began = time.monotonic()
            place = gate.enter(work.session)
        with _Passing(gate, place, began):
            return None if work.is_needless() else self._carried(self._sync(), work)

    def give_back(self, call: Ticket) -> None:
        """Give back what a blocking call still holds that Ctrl-C broke off.

        Args:
            call: The ticket with which it began.
        """
        if gate := self._current().gate:
            gate.give_back(call)

    async def asend(self, work: Work | Pause) -> Any:
        """Async twin of `send`; on SQLite one hop to a thread."""
        if isinstance(work, Pause):
            return await asyncio.sleep(work.seconds)
        if self._in_thread:
            return await self._runs().arun(work)
        if isinstance(self._given, AsyncEngine):
            return await self._acarried(self._given, work)
        mine = await self._of_loop()
        gate = mine.gate
        if gate is None:
            return await self._acarried(mine.engine, work)
        place, began = gate.try_enter(work.session), None
        if place is None:
            if work.past_the_pool:
                return await self._acarried(self._make_async_engine(self._poolless()), work)
            began = time.monotonic()
            place = await gate.aenter(work.session)
        with _Passing(gate, place, began):
            return None if work.is_needless() else await self._acarried(mine.engine, work)

    def _carried(self, engine: Engine, work: Work) -> Any:
        return self._connected(engine, work)

    async def _acarried(self, engine: AsyncEngine, work: Work) -> Any:
        if self.dialect_name == "sqlite":
            return await self._runs().arun_on(engine, work)
        # AsyncConnection does the same in several such steps, and in a task of its own to close.
        spawned = greenlet_spawn(self._connected, engine.sync_engine, work)
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
        await engines.leave(asyncio.get_running_loop())
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
        if runs := self._sqlite_runs.get(os.getpid()):
            runs.dispose()

    def _prepare(self) -> Flow[None]:
        engines = self._current()

        def is_ready() -> bool:
            return engines.ready

        # One at a time: all who come to an empty database at once would crowd each other out.
        look = Work(self._found_version, True, True, _LOOK, is_needless=is_ready)
        version = yield from self._insist(look)
        if version is not None and version < self._tables.version:
            if not self._create_schema:
                raise SessionStoreError(_RUN_DDL if version == 0 else _MIGRATE)
            bring_up = Work(self._tables.bring_up, session=_BRING_UP, is_needless=is_ready)
            version = yield from self._insist(bring_up)
        if version is not None and version > self._tables.version:
            msg = "the tables were made by a newer version of sessionstore: upgrade it"
            raise SessionStoreError(msg)
        engines.ready = True

    def _found_version(self, connection: Connection) -> int:
        if connection.dialect.name == "postgresql":
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
            if encoding not in ("UTF8", b"UTF8"):
                raise SessionStoreError(FOREIGN)
        try:
            return self._tables.stored_version(connection)
        except DBAPIError as error:
            if is_missing_table(error):
                return 0
            raise

    def _insist(self, work: Work) -> Flow[Any]:
        renewed, handled = False, sys.exc_info()[1]
        for number in range(_TRIES):
            try:
                return (yield work)
            except (SQLAlchemyError, OSError, asyncio.TimeoutError) as error:
                # Else a Ctrl-C that broke the connection off would be taken for a lost one.
                if interrupt := interrupt_behind(error, handled):
                    raise interrupt from None
                # A lost connection is told so only where the work was undone, or is repeatable;
                # and who says that it is read-only may be one whose place another has taken.
                anew = not renewed and (is_disconnect(error) or is_read_only(error))
                renewed = renewed or anew
                pause = 0.0 if anew else _pause(number)
                again = anew or (number + 1 < _TRIES and is_safe_to_repeat(error))
                failure = not again or not _has_time(pause)
                told, driver = translated(error), cause(error)
            if failure:  # out here, as the error would have SQLAlchemy's, which holds parameters
                raise told from driver
            if pause:
                yield Pause(pause)
        raise AssertionError  # the last try returns or raises

    def _connected(self, engine: Engine, work: Work) -> Any:
        with in_one_tongue(engine), engine.connect() as connection:
            replace_stale(connection)
            backend = None if self._is_in_time else backend_of(connection)
            try:
                return self._carry_out(connection, work)
            except DBAPIError as error:
                if is_read_only(error) and not connection.invalidated:
                    forsake(engine, connection.connection, error)
                    connection.invalidate(error)
                elif is_unprepared(error):
                    connection.invalidate(error)
                elif connection.invalidated and backend:
                    note(self._place, backend)
                raise
            except BaseException as error:
                if not isinstance(error, (SQLAlchemyError, SessionStoreError)):
                    connection.invalidate()  # who knows what the driver was broken off in
                if connection.invalidated and backend:
                    note(self._place, backend)
                interrupt = error.__context__
                if isinstance(error, AssertionError) and isinstance(interrupt, _INTERRUPTS):
                    # psycopg 3.3's own, over who was interrupted as it entered pipeline mode.
                    raise interrupt from None
                raise

    def _carry_out(self, connection: Connection, work: Work) -> Any:
        if not is_settled(self._place):
            with autocommit(connection, True):
                settle(connection, self._place)
                connection.rollback()
        # One that may not be sent twice, on a connection that does not tell whether it is stale,
        # is sent in a transaction: until its commit nothing is done.
        if work.at_once and (work.repeatable or tells_its_end(connection.connection)):
            with autocommit(connection, connection.dialect.name == "postgresql"):
                return whole(lambda: work.run(connection), work.repeatable)
        with autocommit(connection, False):
            transaction = connection.begin()
            try:
                reply = work.run(connection)
            except BaseException:
                transaction.rollback()
                raise
            whole(transaction.commit, False)
            return reply

    # -- Connections ------------------------------------------------------------------------------

    def _sync(self) -> Engine:
        if isinstance(self._given, Engine):
            return self._given
        if self.dialect_name == "sqlite":
            return self._runs().engine()
        return self._current().blocking(self._new_engine)

    async def _of_loop(self) -> OfLoop:
        return await self._current().of_this_loop(self._new_async_engine)

    def _require_driver(self) -> None:
        dialect = self._url.get_dialect()
        try:
            dialect.import_dbapi()
        except ImportError as error:
            colour = "async " if dialect.is_async else "blocking "
            words = no_driver(self._url, colour).replace(colour, "", 1)
            raise ImportError(words) from error
        if not dialect.is_async:
            self._sync()
        elif is_in_memory(self._url):
            raise ValueError("a database in memory has no async driver: use SqliteAgentDb()")

    def _new_engine(self) -> Engine:
        return self._make_engine(self._options)

    def _new_async_engine(self) -> AsyncEngine:
        return self._make_async_engine(self._options)

    def _make_engine(self, options: dict[str, Any]) -> Engine:
        url = self._with_driver(is_async=False)
        return create_engine(url, **engine_options(url, options))

    def _make_async_engine(self, options: dict[str, Any]) -> AsyncEngine:
        url = self._with_driver(is_async=True)
        if url.get_backend_name() == "sqlite":
            return async_sqlite_engine(url, self._options, self._sqlite_file())
        try:
            return create_async_engine(url, **engine_options(url, options))
        except InvalidRequestError as error:
            raise SessionStoreError(no_driver(url, "async ")) from error

    def _poolless(self) -> dict[str, Any]:
        others = {
            name: value
            for name, value in self._options.items()
            if not name.startswith("pool") and name != "max_overflow"
        }
        return {**others, "poolclass": NullPool}

    def _gates(self) -> Callable[[], Gate] | None:
        if self._given is not None or self.dialect_name == "sqlite":
            return None
        options = engine_options(self._url, self._options)
        size = pool_size(options)
        return None if size is None else partial(Gate, size, options["pool_timeout"])

    def _with_driver(self, *, is_async: bool) -> URL:
        driver = driver_of(self._url, is_async=is_async)
        if driver is None:
            colour = "async " if is_async else "blocking "
            raise SessionStoreError(no_driver(self._url, colour))
        return self._url.set(drivername=driver)

    def _current(self) -> Engines:
        known = self._engines.get(os.getpid())
        return known or self._engines.setdefault(os.getpid(), self._new_engines())

    def _new_engines(self) -> Engines:
        engines = Engines(self._gates())  # which must not know this object
        weakref.finalize(self, engines.dispose)
        return engines

    def _runs(self) -> SqliteRuns:
        known = self._sqlite_runs.get(os.getpid())
        return known or self._sqlite_runs.setdefault(os.getpid(), self._new_runs())

    def _new_runs(self) -> SqliteRuns:
        in_memory = self._given is None and is_in_memory(self._url)
        runs = SqliteRuns(self._new_file_engine(), self._timeout, in_memory=in_memory)
        weakref.finalize(self, runs.dispose)
        return runs

    def _new_file_engine(self) -> Callable[[list[Any] | None], Engine]:
        if isinstance(self._given, Engine):
            given = self._given
            return lambda _: given
        url = self._with_driver(is_async=False)
        return partial(sqlite_engine, url, self._options, self._sqlite_file())

    def _sqlite_file(self) -> SqliteFile:
        return SqliteFile()


class SqliteAgentDb(AgentDb):
    """An SQLite file, the same that `SQLiteSessionStore` writes: either opens the other's.

    So it is with the default ``table_prefix``, with which both leave a file of another application
    as it is. With a prefix of your own, or in ``AgentDb("sqlite:///app.db")``, the tables are put
    beside those that are there, and such a file is not one for `SQLiteSessionStore`.

    It is in write-ahead-log mode, and readable and writable by the user alone where it is made
    here. An async operation is one hop to a thread.

    Example:
        >>> from sessionstore import SqliteAgentDb
        >>> SqliteAgentDb()
        SqliteAgentDb('sqlite+pysqlite:///:memory:')

    Args:
        path: The file; ``":memory:"`` is a database of this object's own, one for all its
            threads and loops, gone when it is closed.
        timeout: How long an operation waits for other writers, in seconds.
        options: As for `AgentDb`: ``table_prefix``, ``create_schema``, and SQLAlchemy's own.

    Raises:
        SessionStoreError: The file's folder does not exist, or the path is a folder; at the first
            use: the file is damaged, another application's, or of a newer version.
        ValueError: The prefix is not usable.
    """

    def __init__(
        self, path: str | os.PathLike[str] = ":memory:", *, timeout: float = 5.0, **options: Any
    ) -> None:
        """Name the file; nothing is opened yet."""
        self._path = checked_path(path)
        super().__init__(
            URL.create("sqlite", database=self._path),
            **{**options, "connect_args": {"timeout": timeout, **options.get("connect_args", {})}},
        )

    def _sqlite_file(self) -> SqliteFile:
        is_shared = self._tables.prefix == DEFAULT_PREFIX
        return SqliteFile(required=True, shared=is_shared, write_ahead=True)


class PostgresAgentDb(AgentDb):
    """A PostgreSQL database through psycopg 3, in both colours; also behind PgBouncer.

    The database's encoding must be UTF8: another is refused at the first use.

    Example:
        >>> from sessionstore import PostgresAgentDb
        >>> PostgresAgentDb("postgresql://alice:secret@db.example/chat")
        PostgresAgentDb('postgresql+psycopg://db.example/chat')
        >>> PostgresAgentDb(host="db.example", dbname="chat", user="alice", password="secret")
        PostgresAgentDb('postgresql+psycopg://db.example/chat')

    Args:
        connection_string: A ``postgresql://`` URL or a string such as ``"host=… dbname=…"``,
            with whatever libpq knows in it; what it leaves out comes from ``PGHOST`` and the
            like.
        connect_timeout: How long to wait for a connection to one host, in seconds: 2 or more, in
            full ones; within the time of the call.
        statement_timeout: How long a call may take, in seconds, the wait for a connection, first
            use, its statements, answers that trickle and second tries included; ``None`` waits for
            good. Shortly before it is over, a statement is cancelled (with libpq 17 or later in
            time: an older one's request to cancel knows no timeout). Give a process that migrates
            large tables more.
        prepared_statements: Let the server prepare statements that come again and again: it would
            spend as long on planning them as on the rest. ``None`` does so on connections that go
            straight to the server; a pooler in between shows by the number that it gives to the
            session, which is not the server's. Behind PgBouncer ``True`` needs its version 1.21
            and ``max_prepared_statements``.
        schema: As for `AgentDb`.
        table_prefix: As for `AgentDb`.
        create_schema: As for `AgentDb`.
        engine_options: As for `AgentDb`.
        parameters: Further parameters of libpq, such as ``host``, ``dbname``, ``sslmode``.

    Raises:
        ValueError: The connection string, a timeout or the prefix is not usable, or libpq knows no
            such parameter. In a URL the user, the password and values are percent-encoded.
        ImportError: psycopg is not installed.
    """

    _is_in_time = True

    @hides_arguments
    def __init__(
        self,
        connection_string: str = "",
        *,
        connect_timeout: float = 5.0,
        statement_timeout: float | None = 10.0,
        prepared_statements: bool | None = None,
        schema: str | None = None,
        table_prefix: str = DEFAULT_PREFIX,
        create_schema: bool = True,
        engine_options: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        """Name the database; nothing is opened yet."""
        from sessionstore.sql import deadline  # noqa: PLC0415 - the other databases need no psycopg

        if not isinstance(connection_string, str):
            kind = type(connection_string).__name__
            raise TypeError(f"connection_string must be a string, not {kind}")
        _require_seconds("connect_timeout", connect_timeout)
        if statement_timeout is not None:
            _require_seconds("statement_timeout", statement_timeout)
        for given in (connection_string, parameters.get("dbname")):
            require_encoded(str(given))
        require_libpq({"connection_string": connection_string, **parameters})
        named = {
            **KEEPALIVES,
            "connect_timeout": math.ceil(connect_timeout),
            **deadline.parameters(connection_string, parameters),
            "client_encoding": "UTF8",  # a database of another one is told so, at the first use
            "prepare_threshold": deadline.PREPARED_AFTER if prepared_statements else None,
            "autocommit": True,  # as the operations that are one statement want it
        }
        require_libpq(named)
        self._parameters = Sealed(named)
        options = engine_options or {}
        wait = options.get("pool_timeout", connect_timeout)
        shortest = wait if statement_timeout is None else min(wait, statement_timeout)
        waiting = {} if "poolclass" in options else {"pool_timeout": shortest}
        shown = shown_url(named)
        place = place_of(shown.set(username=str(named.get("user") or "")))
        self._connecting = deadline.Connecting(
            self._parameters, statement_timeout, prepared_statements is None, place
        )
        super().__init__(
            shown,
            schema=schema,
            table_prefix=table_prefix,
            create_schema=create_schema,
            # Where all is in autocommit, and each transaction ended here, there is none to undo.
            **{"pool_reset_on_return": None, **options, **waiting},
        )
        self._timeout, self._place = statement_timeout, place

    def _carried(self, engine: Engine, work: Work) -> Any:
        """Carry out some work; a single statement by psycopg itself, where nobody listens."""
        if isinstance(work.run, Query) and is_settled(self._place):
            rows = sent(engine, work.run, work.repeatable)
            if rows is not None:
                return rows
        return super()._carried(engine, work)

    async def _acarried(self, engine: AsyncEngine, work: Work) -> Any:
        if isinstance(work.run, Query) and is_settled(self._place):
            rows = await asent(engine.sync_engine, work.run, work.repeatable)
            if rows is not None:
                return rows
        return await super()._acarried(engine, work)

    def _make_engine(self, options: dict[str, Any]) -> Engine:
        creator = self._connecting.connect
        return create_engine(_PSYCOPG, **engine_options(_PSYCOPG, options), creator=creator)

    def _make_async_engine(self, options: dict[str, Any]) -> AsyncEngine:
        creator, made = self._connecting.aconnect, engine_options(_PSYCOPG, options)
        if options.keys() <= _SIZES and not made["max_overflow"]:
            made["poolclass"] = LoopPool
        return create_async_engine(_PSYCOPG, **made, async_creator=creator)


def _require_schema(schema: object, table_prefix: object, create_schema: object) -> None:
    if schema is not None and not isinstance(schema, str):
        raise TypeError(f"schema must be a string or None, not {type(schema).__name__}")
    if not isinstance(table_prefix, str):
        raise TypeError(f"table_prefix must be a string, not {type(table_prefix).__name__}")
    if type(create_schema) is not bool:
        kind = type(create_schema).__name__
        raise TypeError(f"create_schema must be True or False, not {kind}")


@hides_arguments
def open_db(
    database: AgentDb | str | URL | Engine | AsyncEngine, timeout: float | None = None
) -> AgentDb:
    """Make the `AgentDb` that suits a URL or an engine best.

    Args:
        database: As `AgentDb` takes it; or one that is made already.
        timeout: How long the database may take to be reached, and then to answer, in seconds;
            ``None`` for what is usual with it.

    Returns:
        A `PostgresAgentDb` for a PostgreSQL URL that leaves the driver open or names psycopg.

    Raises:
        ValueError: The URL is not usable, or can't be given a timeout.
        ImportError: The URL's driver is not installed.
    """
    if isinstance(database, (AgentDb, Engine, AsyncEngine)):
        if timeout is not None:
            raise ValueError("timeout is for a URL: give the AgentDb or the engine its own")
        return database if isinstance(database, AgentDb) else AgentDb(database)
    url = url_of(database)
    if timeout is not None:
        checked_seconds(timeout)
    if url.drivername == "postgresql+psycopg":
        # What SQLAlchemy writes is not always what libpq reads: a blank stays one.
        written = url.render_as_string(hide_password=False).replace(" ", "%20")
        waits: dict[str, Any] = {}
        if timeout is not None:
            waits = {"connect_timeout": max(_LEAST_CONNECT, timeout), "statement_timeout": timeout}
        return PostgresAgentDb(database if isinstance(database, str) else written, **waits)
    if timeout is None:
        return AgentDb(url)
    if url.get_backend_name() == "sqlite":
        return AgentDb(url, connect_args={"timeout": timeout})
    raise ValueError(
        f"timeout is not known for {url.drivername[:40]}: use AgentDb(url, connect_args=...) "
        "with what the driver calls it"
    )


_LOOK, _BRING_UP = Alone("which version of the tables there is"), Alone("bringing them up")
_INTERRUPTS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
_SIZES = {"max_overflow", "pool_reset_on_return", "pool_size", "pool_timeout"}
_PSYCOPG = URL.create("postgresql+psycopg")
_RUN_DDL = (
    "the tables of sessionstore are missing: run the SQL that AgentDb.ddl() gives, "
    "or let create_schema=True do it"
)
_MIGRATE = (
    "the tables are of an older version of sessionstore: "
    "start once with create_schema=True to migrate them"
)


def _require_seconds(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number of seconds above 0")


def _pause(number: int) -> float:
    """Give how long to wait after a conflict: longer each time, and never as long as others do."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * float(2**number))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _has_time(seconds: float) -> bool:
    deadline = deadline_after(None)
    return deadline is None or time.monotonic() + seconds < deadline


class _Passing:
    """Leaves a gate, and says there what the call has shown of the database."""

    __slots__ = ("_began", "_gate", "_place")

    def __init__(self, gate: Gate, place: Ticket, began: float | None) -> None:
        self._gate, self._place, self._began = gate, place, began

    def __enter__(self) -> None:
        """Do nothing: the gate was passed."""

    def __exit__(self, _: object, error: BaseException | None, traceback: object) -> None:
        """Leave it; who has waited while nobody was answered does blame the database."""
        if error is None:
            self._gate.leave(self._place, answered=True)
            return
        answered = in_time = True
        try:
            if isinstance(error, _SHOWING):
                answered, in_time = is_answer(error), not is_timeout(error)
                if not answered:
                    self._gate.failed(str(translated(error)))
            elif not isinstance(error, SessionStoreError):
                answered = False
        finally:
            self._gate.leave(self._place, answered=answered, in_time=in_time)
        if isinstance(error, TooLittleTimeError) and self._began is not None:
            self._gate.require_answer(self._began)


_SHOWING = (SQLAlchemyError, OSError, asyncio.TimeoutError, StoreTimeoutError)
