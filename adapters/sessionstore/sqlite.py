"""`SQLiteSessionStore`: sessions in one file, with the sqlite3 of the standard library."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Sequence
from contextlib import closing
from threading import Condition, Lock, RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sessionstore.errors import (
    InvalidMessageError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.flow import Flow, play
from sessionstore.models import (
    SYSTEM_ROLES,
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
    decode_messages,
    encode_metadata,
    merge_metadata,
    now_microseconds,
    retention_microseconds,
)
from sessionstore.rows import (
    PRUNE_MESSAGES,
    PRUNE_SESSIONS,
    Row,
    buried,
    encoded,
    place,
)
from sessionstore.store import SessionStore, require_owner, require_version

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from typing_extensions import Self

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "SQLiteSessionStore",
    "checked_path",
    "is_fresh",
    "require_file",
    "use_write_ahead_log",
]

T = TypeVar("T")

APPLICATION_ID = 0x53455353  # "SESS", in the file's header
SCHEMA_VERSION = 1
SCHEMA = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    "CREATE TABLE sessionstore_schema (version INTEGER NOT NULL)",
    f"INSERT INTO sessionstore_schema VALUES ({SCHEMA_VERSION})",  # noqa: S608 - a number of ours
    """CREATE TABLE sessionstore_sessions (
        session_key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        agent_id TEXT NOT NULL,
        user_id TEXT,
        metadata TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        version INTEGER NOT NULL,
        message_count INTEGER NOT NULL,
        last_position INTEGER NOT NULL
    )""",
    "CREATE INDEX sessionstore_by_activity ON sessionstore_sessions (updated_at)",
    "CREATE INDEX sessionstore_by_agent ON sessionstore_sessions (agent_id, updated_at)",
    "CREATE INDEX sessionstore_by_user ON sessionstore_sessions (user_id, updated_at)",
    """CREATE TABLE sessionstore_messages (
        session_key INTEGER NOT NULL,
        position INTEGER NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (session_key, position),
        UNIQUE (session_key, id)
    )""",
)

# The first request of every flow says what it is, so that an async read never queues for a thread
# behind writers. All others are (sql, parameters), with a list of parameters for many rows, or
# _COMMIT, which ends one transaction; the next statement begins another.
_READ, _WRITE = False, True
_COMMIT = ("COMMIT", ())

# JSON is read as bytes: what is not UTF-8 is for the decoders to refuse, not for the driver.
_COLUMNS = (
    "session_key, id, agent_id, user_id, CAST(metadata AS BLOB), "
    "created_at, updated_at, version, message_count, last_position"
)
_FIND = f"SELECT {_COLUMNS} FROM sessionstore_sessions WHERE id = ?"  # noqa: S608
_MAKE = """INSERT INTO sessionstore_sessions
    (id, agent_id, user_id, metadata, created_at, updated_at, version, message_count, last_position)
    VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0)"""
_ADD = """INSERT INTO sessionstore_messages (session_key, position, id, body) VALUES (?, ?, ?, ?)
    ON CONFLICT (session_key, id) DO NOTHING"""
_WRITTEN = """UPDATE sessionstore_sessions SET version = version + 1, updated_at = ?,
    metadata = CAST(? AS TEXT), message_count = ?, last_position = ? WHERE session_key = ?"""
_LAST = """SELECT position, CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND position < ? ORDER BY position DESC LIMIT ?"""
_FIRST = """SELECT position, CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND position < ? ORDER BY position LIMIT 1"""
_NEXT = """SELECT position, CAST(body AS BLOB) FROM sessionstore_messages
    WHERE session_key = ? AND position > ? ORDER BY position LIMIT ?"""
_POSITION = "SELECT position FROM sessionstore_messages WHERE session_key = ? AND id = ?"
_REPLACE = "UPDATE sessionstore_messages SET body = ? WHERE session_key = ? AND id = ?"
_NAMED = """SELECT position, id FROM sessionstore_messages
    WHERE session_key = ? AND id IN ({})"""
_REMOVE = "DELETE FROM sessionstore_messages WHERE session_key = ? AND position = ?"
_CLEAR = "DELETE FROM sessionstore_messages WHERE session_key = ?"
_DROP = "DELETE FROM sessionstore_sessions WHERE session_key = ?"
_EXPIRED = """SELECT session_key, message_count FROM sessionstore_sessions
    WHERE updated_at < ? LIMIT ?"""
_BURY = "UPDATE sessionstore_sessions SET id = ?, updated_at = ? WHERE session_key = ?"
_SLICE = """DELETE FROM sessionstore_messages WHERE session_key = ? AND position < ? +
    (SELECT min(position) FROM sessionstore_messages WHERE session_key = ?)"""
_START, _END = 0, 2**63 - 1
_MANY = 500  # values in one statement: SQLite takes 999, of late more
_MEMORY = ":memory:"
_PRIVATE = 0o600
_SMALLEST = 512  # bytes of a database; SQLite takes less for an empty one, and writes over it
_MOST_READERS = 16  # at once: each has a connection, and with it two or three open files
_MOST_IDLE = 8
_LONGEST_WAIT = 2_000_000.0  # SQLite counts milliseconds in 32 bits

_BUSY = "{} is busy: other writers held it for longer than the timeout"
_NO_LOG = "the file system of {} can't do SQLite's write-ahead log: name a file on another one"
_LOST = "{} was in use when this process was forked off: make the store after the fork"
_ANOTHERS = (
    "{} belongs to another application, and is left as it is: "
    "name another file, or give SqliteAgentDb a table_prefix to share this one"
)
_DAMAGED = "{} is damaged, or no SQLite file: restore it from a backup, or name another file"
# By SQLite's own words, since Python 3.10 does not tell its error codes.
_ERRORS = (
    ("locked", StoreUnavailableError, _BUSY),
    ("locking protocol", StoreUnavailableError, "{} can't be locked: too many open it at once"),
    ("readonly", StoreUnavailableError, "{} can't be written to: look at its permissions"),
    ("unable to open", StoreUnavailableError, "{} can't be opened: look at its permissions"),
    ("disk I/O error", StoreUnavailableError, "{} can't be read or written: the disk fails"),
    ("is full", SessionStoreError, "the disk of {} is full: make room"),
    ("too big", InvalidMessageError, "a message is too big for {}: SQLite takes up to 1 GB"),
    ("not a database", SessionStoreError, _DAMAGED),
    ("malformed", SessionStoreError, _DAMAGED),
    ("no such", SessionStoreError, _DAMAGED),
    ("Could not decode", SessionStoreError, _DAMAGED),
)


class SQLiteSessionStore(SessionStore):
    """Sessions in an SQLite file: the embedded default, which needs no server.

    Any number of threads, event loops and processes of one machine may use a file at once. One
    writer at a time goes on, the others wait for it up to ``timeout``; readers never wait. An
    async method is one hop to a thread for the whole operation, and never blocks its event loop.
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
        timeout: How long an operation waits for other writers, in seconds; past it
            `StoreUnavailableError`.
        synchronous: ``"FULL"`` keeps what was acknowledged through a power cut; ``"NORMAL"`` only
            through a crash of the process, and is faster.

    Raises:
        SessionStoreError: The file's folder does not exist, or the path is a folder.
        InvalidSessionError: ``retention_days`` is not a number above 0.
        ValueError: ``timeout`` or ``synchronous`` is none of what it may be.

    The first use raises `SessionStoreError`, and leaves the file as it is, when the file is
    damaged, is not one of this package, or was written by a newer version of it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = ":memory:",
        *,
        retention_days: float | None = None,
        timeout: float = 5.0,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
    ) -> None:
        """Name the file; nothing is opened yet."""
        if synchronous not in ("FULL", "NORMAL"):
            raise ValueError('synchronous must be "FULL" or "NORMAL"')
        if not timeout >= 0:
            raise ValueError("timeout must be a number of seconds, 0 or more")
        self._retention = retention_microseconds(retention_days)
        self._path = checked_path(path)
        self._database = _Database(self._path, timeout, synchronous)
        weakref.finalize(self, self._database.shut)

    def __repr__(self) -> str:
        """Tell the path."""
        return f"SQLiteSessionStore({self._path!r})"

    def close(self) -> None:
        """Close the file; running operations end first, waited for up to ``timeout``.

        Those that still wait for their turn, and later ones, raise `SessionStoreError`.
        """
        self._database.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        import asyncio  # noqa: PLC0415 - as in _aplay

        await asyncio.to_thread(self.close)

    # -- Carrying out -----------------------------------------------------------------------------

    def _play(self, flow: Flow[T]) -> T:
        write = next(flow)
        return self._database.carry_out(flow, write, self._database.deadline())

    async def _aplay(self, flow: Flow[T]) -> T:
        import asyncio  # noqa: PLC0415 - it doubles the time of `import sessionstore`

        write = next(flow)
        # The wait for other writers begins here, and includes that for the thread.
        future = self._database.start(flow, write, self._database.deadline())
        return await asyncio.wrap_future(future)

    # -- The operations ---------------------------------------------------------------------------

    def _create(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        metadata: dict[str, Any],
    ) -> Flow[SessionData]:
        yield _WRITE
        records, stored = encoded(messages), encode_metadata(metadata).decode()
        row, expired = yield from self._look_up(session_id, user_id)
        if row:
            raise SessionExistsError(f"session {session_id!r} is already there")
        row = yield from _make(session_id, agent_id, user_id, stored, expired)
        row = yield from _add(row, records)
        row = yield from _written(row)
        return SessionData(**row.head(), messages=list(messages))

    def _get(
        self, session_id: str, *, limit: int | None, user_id: str | None
    ) -> Flow[SessionData | None]:
        yield _READ
        row = yield from self._find(session_id, user_id)
        if row is None:
            return None
        last = yield _LAST, (row.session_key, _END, _rows(limit))
        return SessionData(**row.head(), messages=_oldest_first(session_id, last))

    def _get_messages(
        self,
        session_id: str,
        *,
        limit: int | None,
        before: str | None,
        after: str | None,
        user_id: str | None,
        keep_system: bool,
    ) -> Flow[list[SessionMessage]]:
        yield _READ
        row = yield from self._find(session_id, user_id)
        if row is None:
            return []
        if after is not None:
            start = (yield from _position(row, after, "on from")) if after else _START
            following = yield _NEXT, (row.session_key, start, _rows(limit))
            return _oldest_first(session_id, following[::-1])
        end = _END
        if before is not None:
            end = yield from _position(row, before, "before")
        last = yield _LAST, (row.session_key, end, _rows(limit))
        messages = _oldest_first(session_id, last)
        if keep_system and limit is not None:
            start = last[-1][0] if last else end
            first = yield _FIRST, (row.session_key, start)
            messages[:0] = [m for m in _oldest_first(session_id, first) if m.role in SYSTEM_ROLES]
        return messages

    def _append_messages(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[int]:
        yield _WRITE
        records = encoded(messages)
        row, expired = yield from self._look_up(session_id, user_id)
        require_version(row.version if row else 0, expected_version)
        if not records:
            return 0
        if row is None:
            row = yield from _make(session_id, agent_id, user_id, "{}", expired)
        grown = yield from _add(row, records)
        added = grown.message_count - row.message_count
        if added:
            yield from _written(grown)
        return added

    def _replace_message(
        self, session_id: str, message: SessionMessage, *, user_id: str | None
    ) -> Flow[None]:
        yield _WRITE
        [(message_id, body)] = encoded([message])
        row = yield from self._require(session_id, user_id)
        if not (yield _REPLACE, (body, row.session_key, message_id)).rowcount:
            raise SessionNotFoundError(f"the session has no message {message_id!r}")
        yield from _written(row)

    def _delete_messages(
        self,
        session_id: str,
        message_ids: Sequence[str],
        *,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[list[str]]:
        yield _WRITE
        row = yield from self._find(session_id, user_id)
        require_version(row.version if row else 0, expected_version)
        if row is None:
            return []
        deleted = yield from _remove(row, message_ids)
        if deleted:
            yield from _written(row._replace(message_count=row.message_count - len(deleted)))
        return deleted

    def _update(
        self,
        session_id: str,
        *,
        messages: Sequence[SessionMessage] | None,
        metadata: dict[str, Any] | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[SessionInfo]:
        yield _WRITE
        records = None if messages is None else encoded(messages)
        if metadata is not None:
            encode_metadata(metadata)
        row = yield from self._require(session_id, user_id)
        require_version(row.version, expected_version)
        if metadata is not None:
            merged = merge_metadata(row.decoded(), metadata)
            row = row._replace(metadata=encode_metadata(merged).decode())
        if records is not None:
            yield _CLEAR, (row.session_key,)
            row = yield from _add(row._replace(message_count=0), records)
        row = yield from _written(row)
        return row.info()

    def _delete(self, session_id: str, *, user_id: str | None) -> Flow[bool]:
        yield _WRITE
        row = yield from self._find(session_id, user_id)
        if row is not None:
            yield from _drop(row.session_key)
        return row is not None

    def _list_sessions(
        self, *, agent_id: str | None, user_id: str | None, limit: int, cursor: str | None
    ) -> Flow[SessionPage]:
        yield _READ
        where: list[str] = ["updated_at >= ?"]
        values: list[str | int] = [self._oldest_live()]
        if user_id is not None:
            where.append("user_id = ?")
            values.append(user_id)
        if agent_id is not None:
            # A user has fewer sessions than an agent: the plus keeps the agent's index out.
            where.append("agent_id = ?" if user_id is None else "+agent_id = ?")
            values.append(agent_id)
        if cursor is not None:
            where.append("(updated_at, session_key) < (?, ?)")
            values.extend(place(cursor))
        page = f"""SELECT {_COLUMNS} FROM sessionstore_sessions WHERE {" AND ".join(where)}
            ORDER BY updated_at DESC, session_key DESC LIMIT ?"""  # noqa: S608 - no value in it
        found = yield page, (*values, limit + 1)
        rows = [Row._make(values) for values in found]
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        return SessionPage(
            [row.info() for row in rows[:limit]],
            last.cursor() if last else None,
        )

    def _prune_expired(self) -> Flow[int]:
        yield _WRITE
        pruned = 0
        while self._retention is not None:
            # In batches, so that a writer never waits for the whole of it.
            expired = yield _EXPIRED, (self._oldest_live(), PRUNE_SESSIONS)
            dropped = yield from _prune(expired)
            yield _COMMIT
            pruned += dropped
            if dropped == len(expired) < PRUNE_SESSIONS:
                break
        return pruned

    def _ping(self) -> Flow[None]:
        yield _READ
        yield "SELECT version FROM sessionstore_schema", ()

    # -- Within a transaction ---------------------------------------------------------------------

    def _find(self, session_id: str, user_id: str | None) -> Flow[Row | None]:
        row, _ = yield from self._look_up(session_id, user_id)
        return row

    def _look_up(self, session_id: str, user_id: str | None) -> Flow[tuple[Row | None, Row | None]]:
        """Give the session, or else the expired one that stands in its place."""
        found = yield _FIND, (session_id,)
        if not found:
            return None, None
        row = Row._make(found[0])
        if row.updated_at < self._oldest_live():
            return None, row
        require_owner(row.user_id, user_id)
        return row, None

    def _require(self, session_id: str, user_id: str | None) -> Flow[Row]:
        row = yield from self._find(session_id, user_id)
        if row is None:
            raise SessionNotFoundError(f"there is no session {session_id!r}")
        return row

    def _oldest_live(self) -> int:
        return 0 if self._retention is None else now_microseconds() - self._retention


def _make(
    session_id: str, agent_id: str, user_id: str | None, metadata: str, expired: Row | None
) -> Flow[Row]:
    """Make a session, in the place of an expired one with the same id."""
    if expired and expired.message_count > PRUNE_MESSAGES:
        yield from _bury(expired.session_key)
    elif expired:
        yield from _drop(expired.session_key)
    now = now_microseconds()
    made = yield _MAKE, (session_id, agent_id, user_id, metadata, now, now)
    return Row(made.lastrowid, session_id, agent_id, user_id, metadata, now, now, 0, 0, 0)


def _add(row: Row, records: Sequence[tuple[str, str]]) -> Flow[Row]:
    """Add those messages that the session does not hold, and count them."""
    if not records:
        return row
    places = enumerate(records, start=row.last_position + 1)
    added = yield _ADD, [(row.session_key, place, *record) for place, record in places]
    return row._replace(
        message_count=row.message_count + added.rowcount,
        last_position=row.last_position + len(records),
    )


def _remove(row: Row, message_ids: Sequence[str]) -> Flow[list[str]]:
    """Take those messages out that the session holds, and give their ids in order."""
    found: list[tuple[int, str]] = []
    for start in range(0, len(message_ids), _MANY):
        some = message_ids[start : start + _MANY]
        found += yield _NAMED.format(",".join("?" * len(some))), (row.session_key, *some)
    found.sort()
    if found:
        yield _REMOVE, [(row.session_key, position) for position, _ in found]
    return [message_id for _, message_id in found]


def _written(row: Row) -> Flow[Row]:
    row = row._replace(version=row.version + 1, updated_at=now_microseconds())
    yield (
        _WRITTEN,
        (row.updated_at, row.metadata, row.message_count, row.last_position, row.session_key),
    )
    return row


def _prune(expired: list[tuple[int, int]]) -> Flow[int]:
    """Drop the first of some sessions, or a part of one that is large; tell how many are gone."""
    dropped = messages = 0
    for session_key, count in expired:
        messages += count
        if dropped and messages > PRUNE_MESSAGES:
            break
        if messages > PRUNE_MESSAGES:
            yield from _bury(session_key)
            if (yield _SLICE, (session_key, PRUNE_MESSAGES, session_key)).rowcount:
                break
        yield from _drop(session_key)
        dropped += 1
    return dropped


def _bury(session_key: int) -> Flow[None]:
    yield _BURY, (*buried(session_key).values(), session_key)


def _drop(session_key: int) -> Flow[None]:
    yield _CLEAR, (session_key,)
    yield _DROP, (session_key,)


def _position(row: Row, message_id: str, way: str) -> Flow[int]:
    found = yield _POSITION, (row.session_key, message_id)
    if not found:
        raise InvalidMessageError(f"the session has no message {message_id!r} to go {way}")
    return int(found[0][0])


def _oldest_first(session_id: str, rows: list[tuple[int, bytes]]) -> list[SessionMessage]:
    return decode_messages(session_id, [body for _, body in reversed(rows)])


def _rows(limit: int | None) -> int:
    return -1 if limit is None else limit


# -- The file and its connections -----------------------------------------------------------------


class _Database:
    """The connections of one process to one file. Each serves one operation at a time."""

    def __init__(self, path: str, timeout: float, synchronous: str) -> None:
        self._path = path
        self._timeout = min(timeout, _LONGEST_WAIT)
        self._synchronous = synchronous
        self._in_memory = path == _MEMORY
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
                raise StoreUnavailableError(_BUSY.format(self._path))
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
            raise StoreUnavailableError(_BUSY.format(self._path))

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
        version = _schema_version(connection, self._path)
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
            if _schema_version(connection, self._path):
                return  # somebody else was first
            if not self._in_memory:
                _make_private(self._path)
            for statement in SCHEMA:
                connection.execute(statement)


class _Forks:
    """Sees to it that no connection crosses a fork: a child's writes would overwrite others'."""

    def __init__(self) -> None:
        self._databases: weakref.WeakSet[_Database] = weakref.WeakSet()
        self._halted: list[_Database] = []
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before,
                after_in_parent=self._in_parent,
                after_in_child=self._in_child,
            )

    def watch(self, database: _Database) -> None:
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

    def __init__(self, database: _Database, deadline: float, *, write: bool) -> None:
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
        if request is _COMMIT:
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


def checked_path(path: str | os.PathLike[str]) -> str:
    """Check what a caller gave as the path of an SQLite file.

    Args:
        path: The path, or ``":memory:"``.

    Returns:
        The absolute path, or ``":memory:"``.

    Raises:
        SessionStoreError: It names no file, or a folder, or its folder does not exist.
    """
    name = os.fspath(path)
    if name == _MEMORY:
        return name
    if not name or "\0" in name:
        raise SessionStoreError('path must name a file, or be ":memory:"')
    file = os.path.abspath(name)  # a later chdir must not lead to another file
    if os.path.isdir(file):
        raise SessionStoreError(f"{file} is a folder: name a file in it")
    folder = os.path.dirname(file)
    if not os.path.isdir(folder):
        raise SessionStoreError(f"the folder {folder} does not exist: make it first")
    return file


def require_file(path: str) -> None:
    """Refuse a file that SQLite should not even open; make one, the user's alone, where none is.

    All without opening ``path``: to close it again would release the locks that another connection
    of this process holds on it.

    Args:
        path: The file's path.

    Raises:
        StoreUnavailableError: It can't be made, read or written.
        SessionStoreError: It is too small for an SQLite file.
    """
    if not os.path.exists(path):
        _create_private(path)
    if not os.path.isfile(path):
        raise SessionStoreError(f"{path} is no file: name another")
    effective = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=effective):
        raise StoreUnavailableError(f"{path} can't be read and written: look at its permissions")
    if 0 < os.path.getsize(path) < _SMALLEST:
        raise SessionStoreError(_DAMAGED.format(path))


def _create_private(path: str) -> None:
    draft = f"{path}.{os.urandom(8).hex()}"
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
        try:
            os.link(draft, path)
        except FileExistsError:
            raise
        except OSError:  # there are no hard links on this file system
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
        finally:
            os.unlink(draft)
    except FileExistsError:
        return  # another process was first
    except OSError as error:
        raise StoreUnavailableError(f"{path} can't be made: {error.strerror}") from error


def _make_private(path: str) -> None:
    try:
        os.chmod(path, _PRIVATE)
    except PermissionError as error:
        msg = f"{path} can't be made private, as another user owns it: look at its permissions"
        raise StoreUnavailableError(msg) from error


def use_write_ahead_log(connection: sqlite3.Connection, timeout: float) -> None:
    """Put a file in write-ahead-log mode, in which readers never wait for a writer.

    Args:
        connection: A connection to the file, without a transaction.
        timeout: How long to wait for others that are opening the file, in seconds.

    Raises:
        sqlite3.OperationalError: They took longer, or the file can't be written to.
        SessionStoreError: The file system does not allow it.
    """
    # SQLite does not wait for its busy timeout here.
    deadline = time.monotonic() + timeout
    while True:
        try:
            [[mode]] = connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            break
    if mode != "wal":
        [[_, _, path]] = connection.execute("PRAGMA database_list")
        raise SessionStoreError(_NO_LOG.format(path))


def is_fresh(connection: sqlite3.Connection, path: str) -> bool:
    """Tell whether a file holds nothing yet, and refuse one that is not of this package.

    Args:
        connection: A connection to the file.
        path: The file's path.

    Raises:
        SessionStoreError: Another application made it.
    """
    [[count]] = connection.execute("SELECT count(*) FROM sqlite_master")
    if count and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise SessionStoreError(_ANOTHERS.format(path))
    return not count


def _schema_version(connection: sqlite3.Connection, path: str) -> int:
    if is_fresh(connection, path):
        return 0
    found = connection.execute("SELECT version FROM sessionstore_schema").fetchone()
    if found is None or not isinstance(found[0], int) or found[0] < 1:
        raise SessionStoreError(_DAMAGED.format(path))
    return found[0]
