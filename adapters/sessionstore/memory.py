"""`InMemorySessionStore`: sessions in this process, gone when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import Any, ClassVar, TypeVar, overload

from sessionstore._in_memory.leases import LeaseTable
from sessionstore._in_memory.recent import RecentSessions
from sessionstore._in_memory.session import StoredSession, with_system
from sessionstore._in_memory.table import page_of
from sessionstore._runtime.clock import clock
from sessionstore.arguments import require_version
from sessionstore.errors import (
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
)
from sessionstore.models import (
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
    decode_metadata,
    encode_message,
    encode_metadata,
    merge_metadata,
    retention_microseconds,
)
from sessionstore.operations import (
    AcquireLease,
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fence,
    Fork,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    Prune,
    ReleaseLease,
    RenewLease,
    ReplaceMessage,
    Reseal,
    Restore,
    Rewind,
    Scrub,
    Setup,
    Several,
    Trace,
    Update,
    as_several,
)
from sessionstore.ownership import require_owner
from sessionstore.runner import counted
from sessionstore.store import SessionStore

__all__ = ["InMemorySessionStore", "StoredSession"]

T = TypeVar("T")

_IS_WRITE = attrgetter("is_write")


class InMemorySessionStore(SessionStore):
    """Sessions in this process: for tests, notebooks, and as a fallback.

    Two stores share nothing. After `close` calls raise `SessionStoreError`. After a fork both sides
    go on with a copy of their own. A write that Ctrl-C interrupts took effect, or it never will.

    Example:
        >>> from sessionstore import InMemorySessionStore, SessionMessage
        >>> store = InMemorySessionStore()
        >>> store.append_messages("s1", [SessionMessage("user", "Hello!")])
        1

    Args:
        retention_days: How long a session is kept after its last write, in days (fractions
            count); ``None`` keeps it for good.

    Raises:
        InvalidSessionError: ``retention_days`` is not a number above 0.
    """

    def __init__(self, retention_days: float | None = None) -> None:
        """Make an empty store."""
        self._retention = retention_microseconds(retention_days)
        self._table = RecentSessions()
        self._lock = self._table.lock
        self._leases = LeaseTable()
        self._closed = False

    def __repr__(self) -> str:
        """Tell how many sessions there are."""
        return f"InMemorySessionStore(<{len(self._table.sessions)} sessions>)"

    def close(self) -> None:
        """Close the store; later calls raise `SessionStoreError`."""
        self._closed = True

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    def run(self, operation: Any) -> Any:
        """Carry out an operation."""
        if self._closed:
            raise SessionStoreError("this store is closed")
        work = self._operations.get(type(operation))
        if work is None:
            operation = as_several("InMemorySessionStore", operation)
            work = self._operations[Several]
        try:
            return work(self, operation)
        except BaseException as error:
            self._table.settle(error)
            raise

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`, which waits for nothing."""
        # Not what a subclass makes of `run`: one that changes both would do so twice.
        return InMemorySessionStore.run(self, operation)

    # -- The operations ---------------------------------------------------------------------------

    def _create(self, operation: Create) -> SessionData:
        session_id, user_id = str(operation.session_id), operation.user_id
        records, metadata = _encoded(operation.messages), encode_metadata(operation.metadata)
        with self._lock:
            if self._find(session_id, user_id):
                raise SessionExistsError(f"session {session_id!r} is already there")
            session = StoredSession(session_id, operation.agent_id, user_id, metadata)
            self._table.change(session, session.grow, session.fresh(records))
            head = session.head()
        return SessionData(**head, messages=list(operation.messages))

    def _restore(self, operation: Restore) -> SessionInfo | None:
        metadata, at = encode_metadata(operation.metadata), operation.updated_at
        records, expected = _encoded(operation.messages), operation.expected_version
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            if expected is not None:
                require_version(session.version if session else 0, expected)
            elif session:
                raise SessionExistsError(f"session {operation.session_id!r} is already there")
            if at < clock.oldest_live(self._retention):
                return None
            if session is None:
                named = operation.session_id, operation.agent_id, operation.user_id
                session = StoredSession(*named, metadata, operation.created_at)
            grown = metadata, session.fresh(records)
            self._table.change(session, session.go_on, grown, at=at)
            return session.info()

    def _get(self, operation: Get) -> SessionData | None:
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            if session is None:
                return None
            head, last = session.head(), session.last(operation.limit)
            is_cut = len(last) < len(session.bodies)
            first = session.bodies[:1] if operation.keep_system and is_cut else []
        return SessionData(**head, messages=with_system(operation.session_id, first, last))

    def _get_messages(self, operation: GetMessages) -> list[SessionMessage]:
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            if session is None:
                return []
            start, end = session.bounds(operation.limit, operation.before, operation.after)
            bodies = session.bodies[start:end]
            first = session.bodies[:1] if operation.keep_system and start > 0 else []
        return with_system(operation.session_id, first, bodies)

    def _append(self, operation: Append) -> int:
        records = _encoded(operation.messages)
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            if operation.expected_version is not None:
                require_version(session.version if session else 0, operation.expected_version)
            if session is None:
                named = operation.session_id, operation.agent_id, operation.user_id
                session = StoredSession(*named, b"{}")
            fresh = session.fresh(records)
            if added := len(fresh.bodies):
                self._table.change(session, session.grow, fresh)
            return added

    def _replace_message(self, operation: ReplaceMessage) -> None:
        [(message_id, body)] = _encoded([operation.message])
        with self._lock:
            session = self._require(operation.session_id, operation.user_id)
            if message_id not in session.positions:
                raise SessionNotFoundError(f"the session has no message {message_id!r}")
            self._table.change(session, session.put, (message_id, body))

    def _delete_messages(self, operation: DeleteMessages) -> list[str]:
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            require_version(session.version if session else 0, operation.expected_version)
            if session is None:
                return []
            removal = session.removal(operation.message_ids)
            if removal.deleted:
                self._table.change(session, session.shrink, removal)
            return removal.deleted

    def _rewind(self, operation: Rewind) -> list[str]:
        to = operation.to
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            require_version(session.version if session else 0, operation.expected_version)
            if session is None:
                return operation.without_session()
            if to is not None and to not in session.positions:
                raise SessionNotFoundError(f"the session has no message {to!r}")
            removal = session.removal(session.behind(to))
            if removal.deleted:
                self._table.change(session, session.shrink, removal)
            return removal.deleted

    def _update(self, operation: Update) -> SessionInfo:
        messages, metadata = operation.messages, operation.metadata
        records = None if messages is None else _encoded(messages)
        if metadata is not None:
            encode_metadata(metadata)
        with self._lock:
            session = self._require(operation.session_id, operation.user_id)
            require_version(session.version, operation.expected_version)
            if metadata is not None:
                merged = merge_metadata(decode_metadata(session.metadata), metadata)
                stored = encode_metadata(merged)
            else:
                stored = session.metadata
            moves = records is not None
            self._table.change(session, session.become, (stored, records), moves=moves)
            return session.info()

    def _delete(self, operation: Delete) -> bool:
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            if session:
                self._table.take_out(session)
            return session is not None

    def _fork(self, operation: Fork) -> SessionInfo:
        if operation.metadata is not None:
            encode_metadata(operation.metadata)
        new_session_id, user_id = str(operation.new_session_id), operation.user_id
        with self._lock:
            source = self._require(operation.session_id, user_id)
            tail = source.up_to(operation.at)
            if self._find(new_session_id, user_id):
                raise SessionExistsError(f"session {new_session_id!r} is already there")
            last = next(reversed(tail.positions), None)
            metadata = operation.new_metadata(decode_metadata(source.metadata), last)
            named = new_session_id, source.agent_id, source.user_id
            session = StoredSession(*named, encode_metadata(metadata))
            self._table.change(session, session.grow, tail)
            return session.info()

    def _reseal(self, operation: Reseal) -> int:
        swaps = operation.swaps()
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            if session is None:
                return 0
            what, count = session.swapped(swaps)
            if count:
                self._table.change(session, session.put_all, what, versions=0, moves=False)
            return count

    def _several(self, operation: Several) -> list[Any]:
        parts = operation.operations
        with self._lock:
            if not any(map(_IS_WRITE, parts[:-1])):  # each checks all before it writes
                return self._each(parts)
            session = self._find(operation.session_id, operation.user_id)
            table, lent = self._table.draft(session)
            results = _Draft(table, self._retention, self._leases).carry_out(parts)
            self._table.adopt(session, lent, table.look_up(operation.session_id))
            return results

    def _each(self, parts: Sequence[Operation[Any]]) -> list[Any]:
        return [self._operations[type(part)](self, part) for part in parts]

    def _list_sessions(self, operation: ListSessions) -> SessionPage:
        with self._lock:
            self._table.finish()
            sessions = self._table.newest_first(operation.agent_id, operation.user_id)
            since = operation.since
            recent = takewhile(lambda session: session.updated_at >= since, sessions)
            live = (session for session in recent if not self._expired(session))
            return page_of(live, operation)

    def _prune(self, _: Prune) -> int:
        with self._lock:
            self._table.finish()
            # No comprehension: within one, Python 3.13 leaves a block without its end on Ctrl-C.
            expired = list(filter(self._expired, self._table.sessions.values()))
            for session in expired:
                self._table.take_out(session)
            self._leases.drop_expired()
            return len(expired)

    def _acquire_lease(self, operation: AcquireLease) -> int:
        with self._lock:
            self._find(operation.session_id, operation.user_id)
            return self._leases.acquire(operation)

    def _renew_lease(self, operation: RenewLease) -> None:
        with self._lock:
            self._find(operation.session_id, operation.user_id)
            self._leases.renew(operation)

    def _release_lease(self, operation: ReleaseLease) -> bool:
        with self._lock:
            return self._leases.release(operation)

    def _fence(self, operation: Fence) -> None:
        with self._lock:
            self._leases.check(operation)

    def _scrub(self, operation: Scrub) -> list[Trace]:
        with self._lock:
            self._table.finish()
            sessions = list(self._table.newest_first(None, operation.user_id or ""))
            for session in sessions:
                self._table.take_out(session)
            leases = self._leases.forget(operation.session_ids)
        where = "InMemorySessionStore"
        return [Trace(where, "unlisted sessions", len(sessions)), Trace(where, "leases", leases)]

    def _ping(self, _: Ping) -> None:
        return None

    _system = "memory"
    _operations: ClassVar[dict[type[Operation[Any]], Callable[[Any, Any], Any]]] = {
        Create: _create,
        Restore: _restore,
        Get: _get,
        GetMessages: _get_messages,
        Append: _append,
        ReplaceMessage: _replace_message,
        DeleteMessages: _delete_messages,
        Rewind: _rewind,
        Update: _update,
        Delete: _delete,
        Fork: _fork,
        Reseal: _reseal,
        Several: _several,
        AcquireLease: _acquire_lease,
        RenewLease: _renew_lease,
        ReleaseLease: _release_lease,
        Fence: _fence,
        ListSessions: _list_sessions,
        Prune: _prune,
        Scrub: _scrub,
        Ping: _ping,
        Setup: _ping,  # nothing is to be made
    }

    # -- With the lock held -----------------------------------------------------------------------

    def _find(self, session_id: str, user_id: str | None) -> StoredSession | None:
        session = self._table.look_up(session_id)
        if session is None:
            return None
        if self._retention is not None and self._expired(session):
            self._table.take_out(session)
            return None
        if user_id is not None:
            require_owner(session.user_id, user_id)
        return session

    def _require(self, session_id: str, user_id: str | None) -> StoredSession:
        session = self._find(session_id, user_id)
        if session is None:
            raise SessionNotFoundError(f"there is no session {session_id!r}")
        return session

    def _expired(self, session: StoredSession) -> bool:
        retention = self._retention
        return retention is not None and session.updated_at < clock.oldest_live(retention)


class _Draft(InMemorySessionStore):
    """A copy of one session, or of none, to carry operations out on that may yet fail."""

    def __init__(self, table: RecentSessions, retention: int | None, leases: LeaseTable) -> None:
        super().__init__()
        self._table, self._lock, self._retention = table, table.lock, retention
        self._leases = leases

    def carry_out(self, parts: Sequence[Operation[Any]]) -> list[Any]:
        """Carry out some operations, one after the other."""
        return self._each(parts)


def _encoded(messages: Sequence[SessionMessage]) -> list[tuple[str, bytes]]:
    return [(str(message.id), encode_message(message)) for message in messages]
