"""`SQLiteSessionStore`: sessions in one file, with the sqlite3 of the standard library."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, overload

from sessionstore.bounds import StoreBounds
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
from sessionstore.sqlite import leases, reading, writing
from sessionstore.sqlite.async_calls import acarry_out
from sessionstore.sqlite.carrying import carry_out
from sessionstore.sqlite.connections import Database
from sessionstore.sqlite.file import checked_path
from sessionstore.sqlite.forking import fork
from sessionstore.sqlite.jobs import Work
from sessionstore.sqlite.resealing import reseal
from sessionstore.sqlite.scrubbing import scrub
from sessionstore.sqlite.several import OF_ONE_SESSION, several
from sessionstore.stats import StoreConnections
from sessionstore.store import SessionStore

__all__ = ["SQLiteSessionStore"]

T = TypeVar("T")

_LARGEST_MESSAGE = 999_990_000  # bytes: a row may have a billion, its id included

_OPERATIONS: dict[type[Operation[Any]], Work[Any]] = {
    **OF_ONE_SESSION,
    Fork: fork,
    Reseal: reseal,
    Several: several,
    AcquireLease: leases.acquire,
    RenewLease: leases.renew,
    ReleaseLease: leases.release,
    ListSessions: reading.list_sessions,
    Prune: writing.prune,
    Scrub: scrub,
    Ping: reading.ping,
    Setup: reading.ping,  # what is not there is made as the file is opened
}


class SQLiteSessionStore(SessionStore):
    """Sessions in an SQLite file: the embedded default, which needs no server.

    Any number of threads, event loops and processes of one machine may use a file at once. One
    writer at a time goes on, the others wait for it up to ``timeout``; readers never wait. Writes
    that wait at the same moment, of threads and of event loops, share a transaction and its flush
    to the disk, and each succeeds or fails as if it were alone; a large one goes alone. An async
    method is carried out in a thread, and never blocks its event loop.
    A lease ends by the machine's steady clock, which nobody sets; one of before a restart of the
    machine has run out.
    A call that is cancelled, or ended by a Ctrl-C, is settled when its caller goes on: it took
    effect, or it never will.
    The file is opened at the first use, in write-ahead-log mode, and made when it is not there:
    readable and writable by the user alone. A store may be used before a fork and after it, on both
    sides; only one in memory that was used stays with the parent, and in the child raises
    `SessionStoreError`.

    Example:
        >>> from sessionstore import SessionMessage, SQLiteSessionStore
        >>> with SQLiteSessionStore() as store:  # in memory; give a path to keep it
        ...     store.append_messages("s1", [SessionMessage("user", "Hello!")])
        1

    Args:
        path: The file; ``":memory:"`` is a database of this store's own, one for all its threads
            and loops, gone when the store is closed.
        retention_days: How long a session is kept after its last write, in days (fractions
            count); ``None`` keeps it for good.
        timeout: How long an operation waits for others, in seconds, all its waits together; past
            it `StoreBusyError`.
        synchronous: ``"FULL"`` keeps what was acknowledged through a power cut; ``"NORMAL"`` only
            through a crash of the process, and is faster.
        create_parents: Make the folder of the file where it is missing, and those above it: at
            once, and each for the user alone.

    Raises:
        SessionStoreError: The file's folder does not exist, or the path is a folder.
        StoreConnectionError: Its folder can't be made.
        InvalidSessionError: ``retention_days`` is not a number above 0.
        ValueError: ``timeout`` or ``synchronous`` is invalid.
        TypeError: ``path`` is not a path, ``timeout`` not a number, or ``create_parents`` not a
            ``bool``.

    The first use raises `SessionStoreError`, and leaves the file as it is, when the file is
    damaged, is not one of this package, or was written by a newer version of it.

    A file that is deleted, renamed or replaced while it is in use, or loses its ``-wal`` or
    ``-shm``, is noticed: no write to it is acknowledged. The next call raises
    `SessionStoreError`, and the one after it opens what is there then.
    """

    _system = "sqlite"

    def __init__(
        self,
        path: str | os.PathLike[str] = ":memory:",
        *,
        retention_days: float | None = None,
        timeout: float = 5.0,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        create_parents: bool = False,
    ) -> None:
        """Name the file; nothing is opened yet."""
        if synchronous not in ("FULL", "NORMAL"):
            raise ValueError('synchronous must be "FULL" or "NORMAL"')
        if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
            raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
        if not timeout >= 0:
            raise ValueError("timeout must be a number of seconds, 0 or more")
        retention = retention_microseconds(retention_days)
        self._path = checked_path(path, create_parents=create_parents)
        self._timeout = timeout
        self._database = Database(self._path, timeout, synchronous, retention)
        weakref.finalize(self, self._database.shut)

    def __repr__(self) -> str:
        """Tell the path."""
        return f"SQLiteSessionStore({self._path!r})"

    @property
    def timeout(self) -> float:
        """How long a call waits for others, in seconds: for a thread, its turn and SQLite's lock.

        All waits of a call together; what it does itself, and its flush to the disk, come on top.
        """
        return self._timeout

    @property
    def bounds(self) -> StoreBounds:
        """The largest write that SQLite takes."""
        return StoreBounds(message_bytes=_LARGEST_MESSAGE)

    def _connections(self) -> StoreConnections:
        return self._database.connections()

    def close(self) -> None:
        """Close the file; running operations end first, waited for up to ``timeout``.

        Those that still wait for their turn, and later ones, raise `SessionStoreError`.
        """
        self._database.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        import asyncio  # noqa: PLC0415 - it doubles the time of `import sessionstore`

        await asyncio.to_thread(self.close)

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    def run(self, operation: Any) -> Any:
        """Carry out an operation in one transaction."""
        work = _OPERATIONS.get(type(operation))
        if work is None:
            operation = as_several("SQLiteSessionStore", operation)
            work = several
        return carry_out(self._database, work, operation)

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`: in a thread, with those that wait for it at the same moment."""
        work = _OPERATIONS.get(type(operation))
        if work is None:
            operation = as_several("SQLiteSessionStore", operation)
            work = several
        return await acarry_out(self._database, work, operation)
