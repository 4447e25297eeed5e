"""The connections of one process to one SQLite file."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

from sessionstore._runtime.fork_locks import fork_safe_rlock
from sessionstore._runtime.forks import at_fork
from sessionstore._runtime.interrupts import Deferred
from sessionstore.errors import SessionStoreError, StoreBusyError
from sessionstore.rows.sessions import Readable
from sessionstore.sqlite.calls import Call, GivenUpError
from sessionstore.sqlite.errors import is_busy, translated
from sessionstore.sqlite.file import (
    LEASES,
    MEMORY,
    SCHEMA,
    SCHEMA_VERSION,
    has_leases,
    make_private,
    require_file,
    schema_version,
    use_write_ahead_log,
)
from sessionstore.sqlite.identity import FileIdentity, FileTakenAwayError
from sessionstore.sqlite.jobs import Job
from sessionstore.sqlite.turns import Slots
from sessionstore.stats import StoreConnections

if TYPE_CHECKING:
    from sessionstore.sqlite.threads import Lane

__all__ = ["Database", "DoneByAnotherError", "FileConnection", "let_go_of_what_was_taken_away"]

_MOST_READERS = 16  # at once: each has a connection, and with it two or three open files
_MOST_IDLE = 8
_THREADS = {"write": 1, "read": 1, "long read": 2}

_LOST = "{} was in use when this process was forked off: make the store after the fork"


class DoneByAnotherError(BaseException):
    """What a call waits for its turn to do was done along with another's.

    Not an `Exception`, so that no flow takes it for a failure of the backend.
    """


class FileConnection(sqlite3.Connection):
    """A connection, and what it has open.

    Attributes:
        identity: The file and its log; ``None`` of a database in memory.
    """

    identity: FileIdentity | None = None


class Database:
    """The connections of one process to one file. Each serves one call at a time.

    Args:
        path: The file.
        timeout: How long a call waits, in seconds.
        synchronous: ``"FULL"`` or ``"NORMAL"``.
        retention: How long a session is kept after its last write, in microseconds.

    Attributes:
        path: The file.
        retention: As given.
        readable: What a list shows.
        call: Begins to count the time of an operation.
        closed: No call may begin any more.

    Who has which connection is noted in the step that takes it, so that `settle` can give all back
    that a call holds, wherever a Ctrl-C broke it off.
    """

    def __init__(
        self, path: str, timeout: float, synchronous: str, retention: int | None = None
    ) -> None:
        self.path = path
        self.retention = retention
        self.readable: Readable = Readable()
        self.call: Callable[[], Call] = partial(Call, path, timeout)
        self._synchronous = synchronous
        self._in_memory = path == MEMORY
        self._connections: list[FileConnection] = []
        self._users: dict[FileConnection, Call] = {}
        self._openers: set[Call] = set()  # those that have no connection yet, but soon
        self._lost = False
        self.closed: bool = False
        self._make_locks()
        with _watching:
            _databases.add(self)
        # SQLite remembers the locks of its process, and a child would take them for its own: no
        # connection crosses a fork, or a child's writes would overwrite others'.
        at_fork(before=self._halt, in_parent=self._go_on, in_child=self._start_anew)

    def _make_locks(self) -> None:
        self._writing = Slots(1)
        # A database in memory lives in one connection. The one writer needs no reader to end.
        self._reading = Slots(1 if self._in_memory else _MOST_READERS)
        self._opening = Lock()
        self._halted = False
        self._lanes: dict[str, Lane] = {}

    def start(
        self, job: Job[Any], kind: str, lead: Callable[[Database, Lane, Job[Any]], None]
    ) -> None:
        """Have an operation carried out in a thread.

        Args:
            job: The operation.
            kind: Which threads: ``"write"``, ``"read"`` or ``"long read"``.
            lead: How a thread carries one out.
        """
        self.require_open()
        lane = self._lanes.get(kind)
        if lane is None:
            from sessionstore.sqlite.threads import Lane  # noqa: PLC0415 - as asyncio

            lane = self._lanes.setdefault(kind, Lane(_THREADS[kind], partial(lead, self)))
        try:
            lane.start(job)
        except StoreBusyError:
            self.require_open()  # it may have been closed meanwhile
            raise

    def waiting(self) -> Sequence[Job[Any]]:
        """Give the writes that wait to go along, those of threads and those of event loops."""
        lane, offers = self._lanes.get("write"), self._writing.offers
        jobs = [job for job in list(offers.values()) if job.may_go_along()] if offers else []
        return [*jobs, *lane.waiting()] if lane else jobs

    def answered(self, jobs: Sequence[Job[Any]]) -> None:
        """Let nobody wait any more for the turn of those whose write is done."""
        if self._writing.offers:
            for job in jobs:
                self._writing.forget(job.call)

    # -- Connections are taken and given back -----------------------------------------------------

    def take(self, call: Call, *, write: bool, job: Job[Any] | None = None) -> FileConnection:
        """Give a connection, once it is the call's turn.

        Args:
            call: Who.
            write: For the one writer's connection.
            job: What it is for, where the writer before may do that along with its own.

        Raises:
            DoneByAnotherError: It did.
        """
        if self._users or self._writing.inside or self._reading.inside:
            self._settle_what_was_left(call)
        while True:
            if write and not self._writing.enter(call):
                self._writing.wait(call, self.require_open, job)
                if job and job.over:
                    raise DoneByAnotherError
            if (self._in_memory or not write) and not self._reading.enter(call):
                self._reading.wait(call, self.require_open)
            connection = self._free(call) or self._opened_for(call)
            # Looked at when it is taken, since a fork looks at what is taken when it has said so.
            if connection and not (self.closed or self._halted):
                return connection
            self.settle(call)
            self.require_open()
            call.pause()

    def settle(self, call: Call) -> None:
        """Give back all that a call holds, once or twice; what it left open is rolled back."""
        for connection, user in dict(self._users).items():
            if user is not call:
                continue
            try:
                if connection.in_transaction:
                    connection.rollback()
                sound = not connection.in_transaction
            except sqlite3.Error:  # it was closed when a Ctrl-C came, say
                sound = False
            if not sound or self.closed or len(self._connections) - len(self._users) >= _MOST_IDLE:
                self._close(connection)
            self._users.pop(connection, None)
        for slots in (self._reading, self._writing):
            if slots.inside:
                slots.leave(call)

    def _settle_what_was_left(self, call: Call) -> None:
        """Settle what this thread left behind, where one Ctrl-C came upon another."""
        for holders in (self._users, self._reading.inside, self._writing.inside):
            for holder in list(holders.values()):
                if holder.over and holder.thread == call.thread:
                    self.settle(holder)

    def _free(self, call: Call) -> FileConnection | None:
        for connection in self._connections:
            if self._claimed(connection, call):
                return connection
        return None

    def _opened_for(self, call: Call) -> FileConnection | None:
        with Deferred(call.give_up):
            self._openers.add(call)
            try:
                if self.closed or self._halted:
                    return None
                connection = self._open(call)
                self._users[connection] = call
                self._connections.append(connection)
            finally:
                self._openers.discard(call)
            return connection

    def require_open(self) -> None:
        """Refuse a call on a closed store, or on one in memory that a fork has left behind."""
        if self.closed:
            raise SessionStoreError("this store is closed")
        if self._lost:
            raise SessionStoreError(_LOST.format(self.path))

    def idle(self) -> list[FileConnection]:
        """Give the connections that serve no call."""
        return [connection for connection in self._connections if connection not in self._users]

    def in_use(self) -> int:
        """Tell how many serve a call."""
        return len(self._users)

    def connections(self) -> StoreConnections:
        """Count those that are open."""
        is_open, in_use = len(self._connections), len(self._users)
        most = 1 if self._in_memory else _MOST_READERS + 1
        return StoreConnections(idle=max(0, is_open - in_use), in_use=in_use, most=most)

    # -- The end ----------------------------------------------------------------------------------

    def shut(self) -> None:
        """Let no operation begin. The connections that are out are closed when they come back."""
        self.closed = True
        self._close_idle()
        for lane in list(self._lanes.values()):
            lane.shut()

    def close(self) -> None:
        """Let no operation begin, and wait for those that run."""
        call = self.call()
        with Deferred(call.give_up):
            self.shut()
            self._wait_for_the_last(call)

    def _wait_for_the_last(self, call: Call) -> None:
        with suppress(StoreBusyError, GivenUpError):
            while self._users or self._openers:
                call.pause()

    def _close_idle(self) -> None:
        closer = self._closer()
        for connection in list(self._connections):
            if self._claimed(connection, closer):
                self._close(connection)
                self._users.pop(connection, None)

    def _closer(self) -> Call:
        """Begin what closes connections: two at once must not take the same one."""
        closer = self.call()
        closer.thread, closer.over = get_ident(), True  # what it leaves behind is settled
        return closer

    def _claimed(self, connection: FileConnection, call: Call) -> bool:
        """Take a connection that serves no call, unless it was closed meanwhile."""
        users = self._users
        if connection in users or users.setdefault(connection, call) is not call:
            return False
        if connection in self._connections:
            return True
        users.pop(connection)
        return False

    def _close(self, connection: FileConnection) -> None:
        with suppress(ValueError):
            self._connections.remove(connection)
        connection.close()
        if connection.identity:
            connection.identity.closed()

    # -- Whether the file is still there ----------------------------------------------------------

    def let_go(self) -> None:
        """Close what is open and idle of files that were taken away.

        Raises:
            FileTakenAwayError: Other processes hold them: until they don't, they stay open here.
        """
        closer = self._closer()
        for connection in list(self._connections):
            identity = connection.identity
            if identity is None or identity.in_place(written=True):
                continue
            if self._claimed(connection, closer):
                try:
                    identity.save(connection)
                    self._close(connection)
                finally:
                    self._users.pop(connection, None)

    # -- A fork -----------------------------------------------------------------------------------

    def _halt(self) -> None:
        """Before a fork: close the file, and open it no more."""
        self._halted = True
        self._wait_for_the_last(self.call())
        if not self._in_memory:
            self._close_idle()

    def _go_on(self) -> None:
        """After a fork, in the parent."""
        self._halted = False

    def _start_anew(self) -> None:
        """After a fork, in the child: no thread that held a lock or a connection is there."""
        self._lost = self._lost or bool(self._connections)
        self._users.clear()
        self._openers.clear()
        self._make_locks()

    # -- Opening ----------------------------------------------------------------------------------

    def _open(self, call: Call) -> FileConnection:
        call.acquire(self._opening)
        try:
            while True:
                try:
                    return self._opened()
                except sqlite3.Error as error:
                    if not is_busy(error):
                        raise translated(error, self.path) from error
                call.pause()
        finally:
            self._opening.release()

    def _opened(self) -> FileConnection:
        before = self._look()
        connection = sqlite3.connect(
            self.path,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            factory=FileConnection,
        )
        try:
            self._prepare(connection)
            if not self._in_memory:
                connection.identity = FileIdentity(self.path, before)
        except BaseException:
            self._close(connection)
            raise
        return connection

    def _look(self) -> tuple[int, int] | None:
        if self._in_memory:
            return None
        for connection in list(self._connections):
            if connection.identity:
                connection.identity.require_in_place()
        require_file(self.path)
        return FileIdentity.look(self.path)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        version = schema_version(connection, self.path)
        if version > SCHEMA_VERSION:
            msg = f"{self.path} was written by a newer version of sessionstore: upgrade it"
            raise SessionStoreError(msg)
        if version == 0:
            self._create_schema(connection)
        elif not has_leases(connection):
            self._add_leases(connection)
        if not self._in_memory:
            use_write_ahead_log(connection, 0)
            connection.execute("SELECT version FROM sessionstore_schema").fetchall()

    def _create_schema(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            if schema_version(connection, self.path):
                return  # somebody else was first
            if not self._in_memory:
                make_private(self.path)
            for statement in SCHEMA:
                connection.execute(statement)

    def _add_leases(self, connection: sqlite3.Connection) -> None:
        """Make what an older release has not made."""
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            if has_leases(connection):
                return  # somebody else was first
            for statement in LEASES:
                connection.execute(statement)


def let_go_of_what_was_taken_away(database: Database) -> None:
    """Close what this process has open and idle of files that are not in place any more.

    The other stores', too: beside theirs, no connection to what is there now can be opened.

    Args:
        database: The one whose failure is to be told.

    Raises:
        FileTakenAwayError: Other processes hold the file: until they don't, it stays open here.
    """
    with _watching:
        databases = list(_databases)
    for other in databases:
        if other is not database:
            with suppress(FileTakenAwayError):
                other.let_go()
    database.let_go()


# Those of this process. The collector may come in while the lock is held, and close one of them.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_watching = fork_safe_rlock()
