"""The connections of one process to one SQLite file, and what an operation does on one of them."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Sequence
from contextlib import closing
from threading import Condition, Lock, RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from sessionstore._sqlite_file import (
    DAMAGED,
    MEMORY,
    SCHEMA,
    SCHEMA_VERSION,
    make_private,
    require_file,
    schema_version,
    use_write_ahead_log,
)
from sessionstore.errors import (
    InvalidMessageError,
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreReadOnlyError,
)
from sessionstore.flow import Flow, play

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from typing_extensions import Self

__all__ = ["COMMIT", "READ", "WRITE", "Database"]

T = TypeVar("T")

# The first request of every flow says what it is, so that an async read never queues for a thread
# behind writers. All others are (sql, parameters), with a list of parameters for many rows, or
# COMMIT, which ends one transaction; the next statement begins another.
READ, WRITE = False, True
COMMIT = ("COMMIT", ())

_MOST_READERS = 16  # at once: each has a connection, and with it two or three open files
_MOST_IDLE = 8
_LONGEST_WAIT = 2_000_000.0  # SQLite counts milliseconds in 32 bits

_BUSY = "{} is busy: other writers held it for longer than the timeout"
_LOST = "{} was in use when this process was forked off: make the store after the fork"
# By SQLite's own words, since Python 3.10 does not tell its error codes.
_ERRORS = (
    ("locked", StoreBusyError, _BUSY),
    ("locking protocol", StoreBusyError, "{} can't be locked: too many open it at once"),
    ("readonly", StoreReadOnlyError, "{} can't be written to: look at its permissions"),
    ("unable to open", StoreConnectionError, "{} can't be opened: look at its permissions"),
    ("disk I/O error", StoreConnectionError, "{} can't be read or written: the disk fails"),
    ("is full", SessionStoreError, "the disk of {} is full: make room"),
    ("too big", InvalidMessageError, "a message is too big for {}: SQLite takes up to 1 GB"),
    ("not a database", SessionStoreError, DAMAGED),
    ("malformed", SessionStoreError, DAMAGED),
    ("no such", SessionStoreError, DAMAGED),
    ("Could not decode", SessionStoreError, DAMAGED),
)


class Database:
    """The connections of one process to one file. Each serves one operation at a time."""

    def __init__(self, path: str, timeout: float, synchronous: str) -> None:
        self._path = path
        self._timeout = min(timeout, _LONGEST_WAIT)
        self._synchronous = synchronous
        self._in_memory = path == MEMORY
        self._idle: list[sqlite3.Connection] = []
        self._out = 0
        self._prepared = False
        self._lost = False
        self.closed = False
        self._make_locks()
        _forks.watch(self)

    def _make_locks(self) -> None:
        self.writing = Lock()
        self._opening = Lock()
        # Tells of all that changes in _idle, _out, _halted, _lanes and closed, and guards them.
        self._changed = Condition(RLock())  # a finalizer may come in between, and shut
        self._halted = False
        self._lanes: dict[bool, ThreadPoolExecutor] = {}

    def deadline(self) -> float:
        """Give the time up to which an operation that begins now waits for others."""
        return time.monotonic() + self._timeout

    def carry_out(self, flow: Flow[T], write: bool, deadline: float) -> T:
        with _Transaction(self, deadline, write=write) as transaction:
            return play(flow, transaction.send)

    def start(self, flow: Flow[T], write: bool, deadline: float) -> Future[T]:
        """Carry out in a thread: one of those for async reads, or the one for async writes."""
        with self._changed:
            self.require_open()
            if write not in self._lanes:
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as asyncio

                self._lanes[write] = ThreadPoolExecutor(1 if write else 4, "sessionstore-sqlite")
            return self._lanes[write].submit(self.carry_out, flow, write, deadline)

    def take(self, deadline: float, *, write: bool) -> sqlite3.Connection:
        """Give a connection, once there are not too many out."""
        # The one writer needs no reader to end. A database in memory lives in one connection.
        most = 1 if self._in_memory else _MOST_READERS + write
        with self._changed:
            if not self._changed.wait_for(
                lambda: self.closed or (self._out < most and not self._halted),
                _seconds_to(deadline),
            ):
                raise StoreBusyError(_BUSY.format(self._path))
            self.require_open()
            self._out += 1
            if self._idle:
                return self._idle.pop()
        try:
            return self._open(deadline)
        except BaseException:
            self.give_back(None)
            raise

    def give_back(self, connection: sqlite3.Connection | None) -> None:
        with self._changed:
            self._out -= 1
            self._changed.notify_all()
            if connection and (self.closed or len(self._idle) == _MOST_IDLE):
                connection.close()
            elif connection:
                self._idle.append(connection)

    def lock(self, lock: Lock, deadline: float) -> None:
        if not lock.acquire(timeout=_seconds_to(deadline)):
            raise StoreBusyError(_BUSY.format(self._path))

    def translated(self, error: sqlite3.Error) -> SessionStoreError:
        text = str(error)
        for sign, kind, words in _ERRORS:
            if sign in text:
                return kind(words.format(self._path))
        return SessionStoreError(f"SQLite refuses to work on {self._path}: see the cause")

    def require_open(self) -> None:
        if self.closed:
            raise SessionStoreError("this store is closed")
        if self._lost:
            raise SessionStoreError(_LOST.format(self._path))

    def shut(self) -> None:
        """Let no operation begin. The connections that are out are closed when they come back."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
            self._close_idle()
            for lane in self._lanes.values():
                lane.shutdown(wait=False)

    def close(self) -> None:
        """Let no operation begin, and wait for those that run."""
        self.shut()
        self._wait_for_the_last()

    # -- A fork: SQLite remembers the locks of its process, and a child would take them for its own.

    def halt(self) -> None:
        """Before a fork: close the file, and open it no more."""
        self._changed.acquire()
        self._halted = True
        self._wait_for_the_last()
        if not self._in_memory:
            self._close_idle()
            self._prepared = False

    def go_on(self) -> None:
        """After a fork, in the parent."""
        self._halted = False
        self._changed.notify_all()
        self._changed.release()

    def begin_anew(self) -> None:
        """After a fork, in the child: no thread that held a lock or a connection is there."""
        self._lost = self._lost or bool(self._idle or self._out)
        self._make_locks()

    def _wait_for_the_last(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._out, self._timeout)

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    # -- Opening ----------------------------------------------------------------------------------

    def _open(self, deadline: float) -> sqlite3.Connection:
        self.lock(self._opening, deadline)
        try:
            if not self._prepared and not self._in_memory:
                require_file(self._path)
            connection = sqlite3.connect(
                self._path,
                timeout=_seconds_to(deadline),
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                connection.execute(f"PRAGMA synchronous = {self._synchronous}")
                if not self._prepared:
                    self._prepare(connection, deadline)
            except BaseException:
                connection.close()
                raise
            self._prepared = True
        except sqlite3.Error as error:
            raise self.translated(error) from error
        else:
            return connection
        finally:
            self._opening.release()

    def _prepare(self, connection: sqlite3.Connection, deadline: float) -> None:
        version = schema_version(connection, self._path)
        if version > SCHEMA_VERSION:
            msg = f"{self._path} was written by a newer version of sessionstore: upgrade it"
            raise SessionStoreError(msg)
        if version == 0:
            self._create_schema(connection)
        if not self._in_memory:
            use_write_ahead_log(connection, _seconds_to(deadline))

    def _create_schema(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            if schema_version(connection, self._path):
                return  # somebody else was first
            if not self._in_memory:
                make_private(self._path)
            for statement in SCHEMA:
                connection.execute(statement)


class _Forks:
    """Sees to it that no connection crosses a fork: a child's writes would overwrite others'."""

    def __init__(self) -> None:
        self._databases: weakref.WeakSet[Database] = weakref.WeakSet()
        self._halted: list[Database] = []
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before,
                after_in_parent=self._in_parent,
                after_in_child=self._in_child,
            )

    def watch(self, database: Database) -> None:
        with self._lock:
            self._databases.add(database)

    def _before(self) -> None:
        self._lock.acquire()
        self._halted = list(self._databases)
        for database in self._halted:
            database.halt()

    def _in_parent(self) -> None:
        for database in self._halted:
            database.go_on()
        self._halted = []
        self._lock.release()

    def _in_child(self) -> None:
        self._lock = RLock()
        for database in list(self._databases):
            database.begin_anew()
        self._halted = []


_forks = _Forks()


class _Transaction:
    """What one operation does on its connection: all of it, or nothing."""

    def __init__(self, database: Database, deadline: float, *, write: bool) -> None:
        self._database = database
        self._deadline = deadline
        self._write = write
        self._writing = False
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        self._database.require_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end("COMMIT" if error is None else "ROLLBACK")

    def send(self, request: tuple[str, Sequence[Any]]) -> Any:
        """Carry out one statement: the reply is its rows, or the cursor where it has none."""
        if request is COMMIT:
            self._end("COMMIT")
            self._deadline = self._database.deadline()
            return None
        sql, parameters = request
        try:
            connection = self._connection or self._begin()
            if type(parameters) is list:
                return connection.executemany(sql, parameters)
            # Closed, since a statement that failed midway would keep its transaction open.
            with closing(connection.execute(sql, parameters)) as cursor:
                return cursor.fetchall() if cursor.description else cursor
        except sqlite3.Error as error:
            raise self._database.translated(error) from error

    def _begin(self) -> sqlite3.Connection:
        # Not before the first statement: others need not wait while messages are encoded. And the
        # lock first, so that writers in a queue hold no connections.
        if self._write:
            self._database.lock(self._database.writing, self._deadline)
            self._writing = True
        connection = self._database.take(self._deadline, write=self._write)
        self._connection = connection
        wait = int(_seconds_to(self._deadline) * 1000)
        connection.execute(f"PRAGMA busy_timeout = {wait}")
        connection.execute("BEGIN IMMEDIATE" if self._write else "BEGIN")
        return connection

    def _end(self, verdict: str) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection:
                self._conclude(connection, verdict)
        finally:
            if self._writing:
                self._writing = False
                self._database.writing.release()

    def _conclude(self, connection: sqlite3.Connection, verdict: str) -> None:
        try:
            if connection.in_transaction:
                connection.execute(verdict)
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.rollback()
            raise self._database.translated(error) from error
        finally:
            self._database.give_back(connection)


def _seconds_to(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
