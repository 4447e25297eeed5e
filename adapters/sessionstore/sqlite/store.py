"""`SQLiteSessionStore`: sessions in one file, with the sqlite3 of the standard library."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from sessionstore._flow_store import FlowStore
from sessionstore._runtime.clock import clock
from sessionstore.arguments import require_owner, require_version
from sessionstore.bounds import StoreBounds
from sessionstore.errors import (
    CorruptMessageError,
    InvalidMessageError,
    SessionExistsError,
    SessionNotFoundError,
)
from sessionstore.flow import Flow
from sessionstore.models import (
    SYSTEM_ROLES,
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
    decode_messages,
    encode_metadata,
    merge_metadata,
    retention_microseconds,
)
from sessionstore.rows import (
    LATEST,
    PRUNE_MESSAGES,
    PRUNE_SESSIONS,
    Readable,
    Row,
    buried,
    encoded,
    place,
)
from sessionstore.sqlite.connections import Database
from sessionstore.sqlite.file import checked_path
from sessionstore.sqlite.transactions import COMMIT, READ, WRITE, acarry_out, carry_out

__all__ = ["SQLiteSessionStore"]

T = TypeVar("T")

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
_WRITTEN = """UPDATE sessionstore_sessions SET version = version + 1, updated_at = max(?,
    1 + CAST((SELECT coalesce(max(updated_at), 0) FROM sessionstore_sessions
        WHERE updated_at < ?) AS INTEGER)),
    metadata = CAST(? AS TEXT), message_count = ?, last_position = ? WHERE session_key = ?"""
_TIME = "SELECT updated_at FROM sessionstore_sessions WHERE session_key = ?"
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
_NEWEST = "SELECT max(updated_at) FROM sessionstore_sessions WHERE updated_at < ?"
_EXPIRED = """SELECT session_key, max(0, CAST(message_count AS INTEGER))
    FROM sessionstore_sessions WHERE updated_at < ? LIMIT ?"""
_BURY = "UPDATE sessionstore_sessions SET id = ?, updated_at = ? WHERE session_key = ?"
_SLICE = """DELETE FROM sessionstore_messages WHERE session_key = ? AND position < ? +
    (SELECT min(position) FROM sessionstore_messages WHERE session_key = ?)"""
_START, _END = 0, 2**63 - 1
_LARGEST_MESSAGE = 999_990_000  # bytes: a row may have a billion, its id included
_MANY = 500  # values in one statement: SQLite takes 999, of late more


class SQLiteSessionStore(FlowStore):
    """Sessions in an SQLite file: the embedded default, which needs no server.

    Any number of threads, event loops and processes of one machine may use a file at once. One
    writer at a time goes on, the others wait for it up to ``timeout``; readers never wait. An
    async method is one hop to a thread for the whole operation, and never blocks its event loop.
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

    Raises:
        SessionStoreError: The file's folder does not exist, or the path is a folder.
        InvalidSessionError: ``retention_days`` is not a number above 0.
        ValueError: ``timeout`` or ``synchronous`` is invalid.
        TypeError: ``path`` is not a path, or ``timeout`` not a number.

    The first use raises `SessionStoreError`, and leaves the file as it is, when the file is
    damaged, is not one of this package, or was written by a newer version of it.

    A file that is deleted, renamed or replaced while it is in use, or loses its ``-wal`` or
    ``-shm``, is noticed: no write to it is acknowledged. The next call raises
    `SessionStoreError`, and the one after it opens what is there then.
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
        if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
            raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
        if not timeout >= 0:
            raise ValueError("timeout must be a number of seconds, 0 or more")
        self._retention = retention_microseconds(retention_days)
        self._path = checked_path(path)
        self._timeout = timeout
        self._readable = Readable()
        self._database = Database(self._path, timeout, synchronous)
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

    def close(self) -> None:
        """Close the file; running operations end first, waited for up to ``timeout``.

        Those that still wait for their turn, and later ones, raise `SessionStoreError`.
        """
        self._database.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        import asyncio  # noqa: PLC0415 - it doubles the time of `import sessionstore`

        await asyncio.to_thread(self.close)

    # -- Carrying out -----------------------------------------------------------------------------

    def _play(self, flow: Flow[T]) -> T:
        return carry_out(self._database, flow)

    async def _aplay(self, flow: Flow[T]) -> T:
        return await acarry_out(self._database, flow)

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
        yield WRITE
        records, stored = encoded(messages), encode_metadata(metadata).decode()
        row, expired = yield from self._look_up(session_id, user_id)
        if row:
            raise SessionExistsError(f"session {session_id!r} is already there")
        row = yield from _make(session_id, agent_id, user_id, stored, expired)
        row = yield from _add(row, records)
        yield from _written(row)
        return SessionData(**row._replace(version=1).head(), messages=list(messages))

    def _get(
        self, session_id: str, *, limit: int | None, user_id: str | None
    ) -> Flow[SessionData | None]:
        yield READ
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
        yield READ
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
        yield WRITE
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
        yield WRITE
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
        yield WRITE
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
        yield WRITE
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
        yield from _written(row)
        [[now]] = yield _TIME, (row.session_key,)
        return row._replace(version=row.version + 1, updated_at=now).info()

    def _delete(self, session_id: str, *, user_id: str | None) -> Flow[bool]:
        yield WRITE
        row = yield from self._find(session_id, user_id)
        if row is not None:
            yield from _drop(row.session_key)
        return row is not None

    def _list_sessions(
        self, *, agent_id: str | None, user_id: str | None, limit: int, cursor: str | None
    ) -> Flow[SessionPage]:
        yield READ
        where: list[str] = ["updated_at >= ?"]
        values: list[str | int] = [self._oldest_live()]
        if user_id is not None:
            where.append("user_id = ?")
            values.append(user_id)
        if agent_id is not None:
            # A user has fewer sessions than an agent: the plus keeps the agent's index out.
            where.append("agent_id = ?" if user_id is None else "+agent_id = ?")
            values.append(agent_id)
        after = None if cursor is None else place(cursor)
        sessions: list[SessionInfo] = []
        while True:
            wanted = limit - len(sessions)
            rows = yield from _page(where, values, after, wanted + 1)
            sessions += self._readable.infos(rows[:wanted])
            if len(rows) <= wanted:
                return SessionPage(sessions, None)
            if len(sessions) == limit:
                return SessionPage(sessions, rows[wanted - 1].cursor())
            after = rows[wanted - 1].place()

    def _prune_expired(self) -> Flow[int]:
        yield WRITE
        pruned = 0
        while self._retention is not None:
            # In batches, so that a writer never waits for the whole of it.
            expired = yield _EXPIRED, (self._oldest_live(), PRUNE_SESSIONS)
            dropped = yield from _prune(expired)
            yield COMMIT
            pruned += dropped
            if dropped == len(expired) < PRUNE_SESSIONS:
                break
        return pruned

    def _ping(self) -> Flow[None]:
        yield READ
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
        row.require_sound()
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
        return clock.oldest_live(self._retention)


def _make(
    session_id: str, agent_id: str, user_id: str | None, metadata: str, expired: Row | None
) -> Flow[Row]:
    """Make a session, in the place of an expired one with the same id."""
    if expired and expired.message_count > PRUNE_MESSAGES:
        yield from _bury(expired.session_key)
    elif expired:
        yield from _drop(expired.session_key)
    now = yield from _now()
    made = yield _MAKE, (session_id, agent_id, user_id, metadata, now, now)
    # Numbers are given again: messages of a damaged session may be left under this one.
    yield _CLEAR, (made.lastrowid,)
    return Row(made.lastrowid, session_id, agent_id, user_id, metadata, now, now, 0, 0, 0)


def _now() -> Flow[int]:
    [[newest]] = yield _NEWEST, (LATEST,)
    return clock.stamp(int(newest or 0))


def _page(
    where: list[str], values: list[str | int], after: tuple[int, int] | None, count: int
) -> Flow[list[Row]]:
    if after is not None:
        where, values = [*where, "(updated_at, session_key) < (?, ?)"], [*values, *after]
    page = f"""SELECT {_COLUMNS} FROM sessionstore_sessions WHERE {" AND ".join(where)}
        ORDER BY updated_at DESC, session_key DESC LIMIT ?"""  # noqa: S608 - no value in it
    return [Row._make(found) for found in (yield page, (*values, count))]


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
    for position, _ in found:
        _require_position(row, position)
    found.sort()
    if found:
        yield _REMOVE, [(row.session_key, position) for position, _ in found]
    return [message_id for _, message_id in found]


def _written(row: Row) -> Flow[None]:
    """Note that a session was written to, later than any other."""
    made_just_now = row.version == 0
    now, others = (row.updated_at, 0) if made_just_now else (clock.now(), LATEST)
    counts = row.message_count, row.last_position
    yield _WRITTEN, (now, others, row.metadata, *counts, row.session_key)


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
    return _require_position(row, found[0][0])


def _require_position(row: Row, position: object) -> int:
    if type(position) is int:
        return position
    raise CorruptMessageError(f"session {row.id!r}: the place of a message can't be read")


def _oldest_first(session_id: str, rows: list[tuple[int, bytes]]) -> list[SessionMessage]:
    return decode_messages(session_id, [body for _, body in reversed(rows)])


def _rows(limit: int | None) -> int:
    return -1 if limit is None else limit
