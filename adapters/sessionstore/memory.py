"""`InMemorySessionStore`: sessions in this process, gone when it ends."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Any, ClassVar, TypeVar

from sessionstore._runtime.clock import clock
from sessionstore._runtime.fork_locks import fork_safe_rlock, release_if_held
from sessionstore._stored_session import StoredSession
from sessionstore.arguments import require_owner, require_version
from sessionstore.errors import (
    CorruptMessageError,
    InvalidSessionError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
)
from sessionstore.models import (
    SYSTEM_ROLES,
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
    decode_messages,
    decode_metadata,
    encode_message,
    encode_metadata,
    merge_metadata,
    retention_microseconds,
)
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    Prune,
    ReplaceMessage,
    Update,
    unknown_operation,
)
from sessionstore.store import SessionStore

__all__ = ["InMemorySessionStore", "StoredSession"]

T = TypeVar("T")

_logger = logging.getLogger("sessionstore")


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

    @property
    def _kind(self) -> type[StoredSession]:
        return StoredSession

    def __init__(self, retention_days: float | None = None) -> None:
        """Make an empty store."""
        self._retention = retention_microseconds(retention_days)
        self._lock = fork_safe_rlock()
        # The session, what is done to it and with what; its version, time and place in lists then.
        self._unfinished: tuple[StoredSession, Callable[[Any], None], Any, int, int, int] | None = (
            None
        )
        self._newest = 0
        self._sessions: dict[str, StoredSession] = {}
        # Session ids, the last one written to at the end: all of them under None, and once more by
        # agent and by owner. A write moves its session to the end, so that no list needs sorting.
        self._recent: defaultdict[tuple[str, str | None] | None, dict[str, None]] = defaultdict(
            dict
        )
        self._activity = count(1)
        self._closed = False

    def __repr__(self) -> str:
        """Tell how many sessions there are."""
        return f"InMemorySessionStore(<{len(self._sessions)} sessions>)"

    def close(self) -> None:
        """Close the store; later calls raise `SessionStoreError`."""
        self._closed = True

    def run(self, operation: Operation[T]) -> T:
        """Carry out an operation."""
        if self._closed:
            raise SessionStoreError("this store is closed")
        work = self._operations.get(type(operation))
        if work is None:
            raise unknown_operation("InMemorySessionStore", operation)
        try:
            result: T = work(self, operation)
        except BaseException:
            self._settle()
            raise
        return result

    async def arun(self, operation: Operation[T]) -> T:
        """Async twin of `run`, which waits for nothing."""
        return self.run(operation)

    # -- The operations ---------------------------------------------------------------------------

    def _create(self, operation: Create) -> SessionData:
        session_id, user_id = str(operation.session_id), operation.user_id
        records, metadata = _encoded(operation.messages), encode_metadata(operation.metadata)
        with self._lock:
            if self._find(session_id, user_id):
                raise SessionExistsError(f"session {session_id!r} is already there")
            session = self._kind(session_id, operation.agent_id, user_id, metadata)
            self._begin(session, session.grow, session.fresh(records))
            self._written(session)
            head = session.head()
        return SessionData(**head, messages=list(operation.messages))

    def _get(self, operation: Get) -> SessionData | None:
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            if session is None:
                return None
            head, bodies = session.head(), session.last(operation.limit)
        return SessionData(**head, messages=decode_messages(operation.session_id, bodies))

    def _get_messages(self, operation: GetMessages) -> list[SessionMessage]:
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            if session is None:
                return []
            start, end = session.bounds(operation.limit, operation.before, operation.after)
            bodies = session.bodies[start:end]
            first = session.bodies[:1] if operation.keep_system and start > 0 else []
        messages = decode_messages(operation.session_id, first + bodies)
        return messages[1:] if first and messages[0].role not in SYSTEM_ROLES else messages

    def _append(self, operation: Append) -> int:
        records = _encoded(operation.messages)
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            require_version(session.version if session else 0, operation.expected_version)
            if session is None:
                named = operation.session_id, operation.agent_id, operation.user_id
                session = self._kind(*named, b"{}")
            fresh = session.fresh(records)
            if added := len(fresh.bodies):
                self._begin(session, session.grow, fresh)
                self._written(session)
            return added

    def _replace_message(self, operation: ReplaceMessage) -> None:
        [(message_id, body)] = _encoded([operation.message])
        with self._lock:
            session = self._require(operation.session_id, operation.user_id)
            if message_id not in session.positions:
                raise SessionNotFoundError(f"the session has no message {message_id!r}")
            self._begin(session, session.put, (message_id, body))
            self._written(session)

    def _delete_messages(self, operation: DeleteMessages) -> list[str]:
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            require_version(session.version if session else 0, operation.expected_version)
            if session is None:
                return []
            removal = session.removal(operation.message_ids)
            if removal.deleted:
                self._begin(session, session.shrink, removal)
                self._written(session)
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
            self._begin(session, session.become, (stored, records))
            self._written(session)
            return session.info()

    def _delete(self, operation: Delete) -> bool:
        with self._lock:
            session = self._find(operation.session_id, operation.user_id)
            if session:
                self._forget(session)
            return session is not None

    def _list_sessions(self, operation: ListSessions) -> SessionPage:
        below, limit = _activity(operation.cursor), operation.limit
        with self._lock:
            self._finish()
            readable = (
                (info, session.activity)
                for session in self._newest_first(operation)
                if (below is None or session.activity < below)
                and not self._expired(session)
                and (info := _readable(session))
            )
            page = list(islice(readable, limit + 1))
        more = str(page[limit - 1][1]) if len(page) > limit else None
        return SessionPage([info for info, _ in page[:limit]], more)

    def _prune(self, _: Prune) -> int:
        with self._lock:
            self._finish()
            # No comprehension: within one, Python 3.13 leaves a block without its end on Ctrl-C.
            expired = list(filter(self._expired, self._sessions.values()))
            for session in expired:
                self._forget(session)
            return len(expired)

    def _ping(self, _: Ping) -> None:
        return None

    _operations: ClassVar[dict[type[Operation[Any]], Callable[[Any, Any], Any]]] = {
        Create: _create,
        Get: _get,
        GetMessages: _get_messages,
        Append: _append,
        ReplaceMessage: _replace_message,
        DeleteMessages: _delete_messages,
        Update: _update,
        Delete: _delete,
        ListSessions: _list_sessions,
        Prune: _prune,
        Ping: _ping,
    }

    # -- With the lock held -----------------------------------------------------------------------

    def _find(self, session_id: str, user_id: str | None) -> StoredSession | None:
        if self._unfinished is not None:
            self._finish()
        session = self._sessions.get(session_id)
        if session and self._expired(session):
            self._forget(session)
            return None
        if session:
            require_owner(session.user_id, user_id)
        return session

    def _require(self, session_id: str, user_id: str | None) -> StoredSession:
        session = self._find(session_id, user_id)
        if session is None:
            raise SessionNotFoundError(f"there is no session {session_id!r}")
        return session

    def _newest_first(self, operation: ListSessions) -> Iterator[StoredSession]:
        agent_id, user_id = operation.agent_id, operation.user_id
        scope = ("user", user_id) if user_id is not None else None
        if scope is None and agent_id is not None:
            scope = ("agent", agent_id)
        for session_id in reversed(self._recent.get(scope, {})):
            session = self._sessions[session_id]
            if agent_id is None or session.agent_id == agent_id:
                yield session

    def _expired(self, session: StoredSession) -> bool:
        retention = self._retention
        return retention is not None and session.updated_at < clock.oldest_live(retention)

    # Ctrl-C may come between any two steps. So a change is noted, in one step, with all that it
    # comes to, before it is begun. Each may be done twice: who finds it unfinished finishes it.

    def _begin(self, session: StoredSession, change: Callable[[T], None], what: T) -> None:
        """Note a write: from here on it takes effect."""
        now = clock.stamp(self._newest)
        self._unfinished = (session, change, what, session.version + 1, now, next(self._activity))

    def _written(self, session: StoredSession) -> None:
        if self._unfinished is None:
            self._begin(session, _nothing, None)
        self._finish()

    def _forget(self, session: StoredSession) -> None:
        self._unfinished = (session, self._remove, session, 0, 0, 0)
        self._finish()

    def _finish(self) -> None:
        if self._unfinished is None:
            return
        session, change, what, version, now, activity = self._unfinished
        change(what)
        if version:
            session.version, session.activity = version, activity
            session.updated_at = self._newest = now
            if version == 1:
                session.created_at = now
            self._sessions[session.id] = session
            self._join_lists(session)
        self._unfinished = None

    def _settle(self) -> None:
        """Finish what this call was interrupted in, before its caller goes on."""
        release_if_held(self._lock)
        if self._unfinished is not None:
            with self._lock:
                self._finish()

    def _remove(self, session: StoredSession) -> None:
        self._leave_lists(session)
        self._sessions.pop(session.id, None)

    def _join_lists(self, session: StoredSession) -> None:
        session_id = session.id
        for scope in session.scopes():
            recent = self._recent[scope]
            recent.pop(session_id, None)
            recent[session_id] = None

    def _leave_lists(self, session: StoredSession) -> None:
        for scope in session.scopes():
            self._recent[scope].pop(session.id, None)
            if scope and not self._recent[scope]:
                self._recent.pop(scope, None)


def _readable(session: StoredSession) -> SessionInfo | None:
    """Give a session for a list, which one that can't be read has no place in."""
    try:
        return session.info()
    except CorruptMessageError as error:
        _logger.warning("session %r is left out of a list: %s", session.id, error)
        return None


def _nothing(what: object) -> None:
    """Change nothing."""


def _encoded(messages: Sequence[SessionMessage]) -> list[tuple[str, bytes]]:
    return [(str(message.id), encode_message(message)) for message in messages]


def _activity(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        return int(cursor)
    except ValueError:
        raise InvalidSessionError("cursor is not one that list_sessions gave") from None
