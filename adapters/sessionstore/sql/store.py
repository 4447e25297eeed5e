"""`DbSessionStore`: sessions in an SQL database, through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from sessionstore._runtime.frames import hides_arguments
from sessionstore.deadline import deadline_after, until, within
from sessionstore.errors import SessionStoreError
from sessionstore.flow import aplay, play
from sessionstore.models import retention_microseconds
from sessionstore.operations import (
    AcquireLease,
    Fork,
    ListSessions,
    Operation,
    Ping,
    Prune,
    ReleaseLease,
    RenewLease,
    Reseal,
    Scrub,
    Setup,
    Several,
    as_several,
)
from sessionstore.runner import counted
from sessionstore.sql.database import AgentDb
from sessionstore.sql.forking import fork
from sessionstore.sql.leases import acquire, release, renew
from sessionstore.sql.listing import list_sessions, ping, set_up
from sessionstore.sql.opening import open_db
from sessionstore.sql.pruning import prune
from sessionstore.sql.requests import SqlFlow
from sessionstore.sql.resealing import reseal
from sessionstore.sql.scrubbing import scrub
from sessionstore.sql.sessions import Sessions
from sessionstore.sql.several import OF_ONE_SESSION, several
from sessionstore.stats import StoreConnections
from sessionstore.store import SessionStore

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["DbSessionStore"]

T = TypeVar("T")

_MakeFlow: TypeAlias = Callable[[Sessions, Any], SqlFlow[Any]]

_OPERATIONS: dict[type[Operation[Any]], _MakeFlow] = {
    **OF_ONE_SESSION,
    Fork: fork,
    Reseal: reseal,
    Several: several,
    AcquireLease: acquire,
    RenewLease: renew,
    ReleaseLease: release,
    ListSessions: list_sessions,
    Ping: ping,
    Prune: prune,
    Scrub: scrub,
    Setup: set_up,
}

_SYSTEMS = {
    **{name: name for name in ("cockroachdb", "mariadb", "mysql", "postgresql", "sqlite")},
    "mssql": "microsoft.sql_server",
    "oracle": "oracle.db",
}
"""OpenTelemetry's words for SQLAlchemy's."""


def _unknown(sessions: Sessions, given: object) -> SqlFlow[list[Any]]:
    return several(sessions, as_several("DbSessionStore", given))


class DbSessionStore(SessionStore):
    """Sessions in an SQL database: PostgreSQL, SQLite, MySQL, MariaDB.

    MySQL and MariaDB are experimental: MariaDB is tested where it is installed, MySQL is not.

    Any number of threads, event loops, processes and machines may use one database at once.
    Writers to one session take turns, by the lock on its row; writers to different sessions never
    wait for each other (on SQLite they do, and on MySQL and MariaDB those that put messages in
    again by `update`), and readers for nobody.

    A list that `run` is given is one transaction, which locks the session, or keeps others from
    making it; one that only reads waits for nobody on PostgreSQL, and for writers elsewhere. On
    PostgreSQL a read without ``before`` and ``after``, and an append behind it, as a turn begins,
    are one statement: one round trip. (Where another writer comes in between, a transaction
    follows. Where a message that was read proves to be damaged, the append is taken back before
    the call raises; others may have seen it.) A list that writes, and may have been committed when
    its connection was lost, is not sent again.

    On PostgreSQL an append is one statement, and so are a fork, which locks nothing of the session
    that it copies, and a read, this on any database: one round trip each. (Two writers that make
    one session at the same time, or one that meets an expired one, take a few more.) When a
    connection is lost, reads and plain appends are sent again once; the count that such an append
    returns is then that of the second sending.

    A write that carries a lease has the lease's row locked, behind the session's, until it is
    committed: who takes the lease over waits for it. On PostgreSQL an append under a lease is one
    statement, and so is each operation of a lease. The server's clock decides when one ends.

    With `PostgresAgentDb`, reads with a ``limit`` and appends without ``expected_version`` that are
    under way on one event loop at the same moment share statements: up to 32 sessions in one. Such
    a statement waits for no session. Of those in it, one whose session is locked, new or expired,
    or has long messages, is then carried out alone, as are all of them where it fails.

    Example:
        >>> from sessionstore import DbSessionStore, SessionMessage, SqliteAgentDb
        >>> with SqliteAgentDb() as db:
        ...     store = DbSessionStore(db)
        ...     store.append_messages("s1", [SessionMessage("user", "Hello!")])
        1

    Args:
        db: The database. An `AgentDb` stays open when the store is closed, as other stores may
            share it; given SQLAlchemy's URL or an engine, the store makes one of its own.
        retention_days: How long a session is kept after its last write, in days (fractions
            count); ``None`` keeps it for good.
        timeout: With a URL of PostgreSQL through psycopg, or of SQLite: how long the database may
            take to be reached, and then to answer, in seconds, as for `open_store`. In all other
            cases the timeouts are those of ``db``.

    Raises:
        ValueError: The URL is not usable, or ``timeout`` is not for it.
        InvalidSessionError: ``retention_days`` is not a number above 0.
    """

    @hides_arguments
    def __init__(
        self,
        db: AgentDb | str | URL | Engine | AsyncEngine,
        *,
        retention_days: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Name the database; nothing is opened yet."""
        retention = retention_microseconds(retention_days)
        self._owns_db = not isinstance(db, AgentDb)
        self._db = open_db(db, timeout)
        self._sessions = Sessions(self._db, retention)
        self._timeout = self._db.timeout or None
        self._closed = False

    def __repr__(self) -> str:
        """Tell the database, without what a password may be in."""
        return f"DbSessionStore({self._db!r})"

    @property
    def timeout(self) -> float | None:
        """How long a call may take, in seconds: what `AgentDb.timeout` says."""
        return self._db.timeout

    @property
    def system(self) -> str:
        """The kind of database."""
        return _SYSTEMS.get(self._db.dialect_name, "other_sql")

    def _connections(self) -> StoreConnections | None:
        return self._db.connections()

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    def run(self, operation: Any) -> Any:
        """Carry out an operation, within the database's timeout.

        Args:
            operation: What to do; or a list of operations on one session, which is `Several`.

        Returns:
            The operation's result; of a list, the result of each.

        Raises:
            SessionStoreError: The store is closed, does not know the operation, or the database
                refuses; further errors are named at the method of `SessionStore` that makes it.
        """
        if self._closed:
            raise SessionStoreError("this store is closed")
        make_flow: _MakeFlow = _OPERATIONS.get(type(operation), _unknown)
        flow = make_flow(self._sessions, operation)
        return within(self._timeout, play, flow, self._db.send)

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        if self._closed:
            raise SessionStoreError("this store is closed")
        make_flow: _MakeFlow = _OPERATIONS.get(type(operation), _unknown)
        flow = make_flow(self._sessions, operation)
        with until(deadline_after(self._timeout)):
            return await aplay(flow, self._db.asend)

    def close(self) -> None:
        """Close the store, and the database where the store has made the `AgentDb` itself."""
        self._closed = True
        if self._owns_db:
            self._db.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        self._closed = True
        if self._owns_db:
            await self._db.aclose()
