"""`InMemorySessionStore`: sessions in this process, gone when it ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from sessionstore.arguments import require_owner, require_version
from sessionstore.errors import (
    InvalidMessageError,
    InvalidSessionError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
)
from sessionstore.flow import Flow, play
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
    from_microseconds,
    merge_metadata,
    now_microseconds,
    retention_microseconds,
)
from sessionstore.store import SessionStore

__all__ = ["InMemorySessionStore", "StoredSession"]

T = TypeVar("T")
P = ParamSpec("P")


def _at_once(
    operation: Callable[Concatenate[InMemorySessionStore, P], T],
) -> Callable[Concatenate[InMemorySessionStore, P], Flow[T]]:
    """Make a flow of an operation that has nobody to wait for."""

    def flow(store: InMemorySessionStore, /, *args: P.args, **kwargs: P.kwargs) -> Flow[T]:
        yield from ()
        return operation(store, *args, **kwargs)

    return flow


class InMemorySessionStore(SessionStore):
    """Sessions in this process: for tests, notebooks, and as a fallback.

    Two stores share nothing. After `close` the sessions are still there.

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
        self._lock = Lock()
        self._sessions: dict[str, StoredSession] = {}
        # Session ids, the last one written to at the end: all of them under None, and once more by
        # agent and by owner. A write moves its session to the end, so that no list needs sorting.
        self._recent: defaultdict[tuple[str, str | None] | None, dict[str, None]] = defaultdict(
            dict
        )
        self._activity = count(1)

    def __repr__(self) -> str:
        """Tell how many sessions there are."""
        return f"InMemorySessionStore(<{len(self._sessions)} sessions>)"

    def _play(self, flow: Flow[T]) -> T:
        return play(flow, _refuse)

    async def _aplay(self, flow: Flow[T]) -> T:
        return play(flow, _refuse)

    @_at_once
    def _create(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        metadata: dict[str, Any],
    ) -> SessionData:
        records, stored = _encoded(messages), encode_metadata(metadata)
        with self._lock:
            if self._find(session_id, user_id):
                raise SessionExistsError(f"session {session_id!r} is already there")
            session = self._kind(session_id, agent_id, user_id, stored)
            session.add(records)
            self._written(session)
            head = session.head()
        return SessionData(**head, messages=list(messages))

    @_at_once
    def _get(
        self, session_id: str, *, limit: int | None, user_id: str | None
    ) -> SessionData | None:
        with self._lock:
            session = self._find(session_id, user_id)
            if session is None:
                return None
            head, bodies = session.head(), session.last(limit)
        return SessionData(**head, messages=decode_messages(session_id, bodies))

    @_at_once
    def _get_messages(
        self,
        session_id: str,
        *,
        limit: int | None,
        before: str | None,
        after: str | None,
        user_id: str | None,
        keep_system: bool,
    ) -> list[SessionMessage]:
        with self._lock:
            session = self._find(session_id, user_id)
            if session is None:
                return []
            start, end = session.bounds(limit, before, after)
            bodies = session.bodies[start:end]
            first = session.bodies[:1] if keep_system and start > 0 else []
        messages = decode_messages(session_id, first + bodies)
        return messages[1:] if first and messages[0].role not in SYSTEM_ROLES else messages

    @_at_once
    def _append_messages(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> int:
        records = _encoded(messages)
        with self._lock:
            session = self._find(session_id, user_id)
            require_version(session.version if session else 0, expected_version)
            if session is None:
                session = self._kind(session_id, agent_id, user_id, b"{}")
            if added := session.add(records):
                self._written(session)
            return added

    @_at_once
    def _replace_message(
        self, session_id: str, message: SessionMessage, *, user_id: str | None
    ) -> None:
        [(message_id, body)] = _encoded([message])
        with self._lock:
            session = self._require(session_id, user_id)
            if message_id not in session.positions:
                raise SessionNotFoundError(f"the session has no message {message_id!r}")
            session.bodies[session.place(message_id)] = body
            self._written(session)

    @_at_once
    def _delete_messages(
        self,
        session_id: str,
        message_ids: Sequence[str],
        *,
        user_id: str | None,
        expected_version: int | None,
    ) -> list[str]:
        with self._lock:
            session = self._find(session_id, user_id)
            require_version(session.version if session else 0, expected_version)
            if session is None:
                return []
            if deleted := session.remove(message_ids):
                self._written(session)
            return deleted

    @_at_once
    def _update(
        self,
        session_id: str,
        *,
        messages: Sequence[SessionMessage] | None,
        metadata: dict[str, Any] | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> SessionInfo:
        records = None if messages is None else _encoded(messages)
        if metadata is not None:
            encode_metadata(metadata)
        with self._lock:
            session = self._require(session_id, user_id)
            require_version(session.version, expected_version)
            if metadata is not None:
                merged = merge_metadata(decode_metadata(session.metadata), metadata)
                session.metadata = encode_metadata(merged)
            if records is not None:
                session.clear()
                session.add(records)
            self._written(session)
            return session.info()

    @_at_once
    def _delete(self, session_id: str, *, user_id: str | None) -> bool:
        with self._lock:
            session = self._find(session_id, user_id)
            if session:
                self._forget(session)
            return session is not None

    @_at_once
    def _list_sessions(
        self, *, agent_id: str | None, user_id: str | None, limit: int, cursor: str | None
    ) -> SessionPage:
        below = _activity(cursor)
        scope = ("user", user_id) if user_id is not None else None
        if scope is None and agent_id is not None:
            scope = ("agent", agent_id)
        with self._lock:
            live = (
                session
                for session in map(
                    self._sessions.__getitem__, reversed(self._recent.get(scope, {}))
                )
                if (below is None or session.activity < below)
                and (agent_id is None or session.agent_id == agent_id)
                and not self._expired(session)
            )
            page = [(session.info(), session.activity) for session in islice(live, limit + 1)]
        more = str(page[limit - 1][1]) if len(page) > limit else None
        return SessionPage([info for info, _ in page[:limit]], more)

    @_at_once
    def _prune_expired(self) -> int:
        with self._lock:
            expired = [session for session in self._sessions.values() if self._expired(session)]
            for session in expired:
                self._forget(session)
            return len(expired)

    @_at_once
    def _ping(self) -> None:
        return None

    # -- With the lock held -----------------------------------------------------------------------

    def _find(self, session_id: str, user_id: str | None) -> StoredSession | None:
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

    def _expired(self, session: StoredSession) -> bool:
        return (
            self._retention is not None
            and session.updated_at < now_microseconds() - self._retention
        )

    def _written(self, session: StoredSession) -> None:
        session.version += 1
        session.updated_at = now_microseconds()
        session.activity = next(self._activity)
        self._sessions[session.id] = session
        self._join_lists(session)

    def _forget(self, session: StoredSession) -> None:
        del self._sessions[session.id]
        self._leave_lists(session)

    def _join_lists(self, session: StoredSession) -> None:
        for scope in session.scopes():
            self._recent[scope].pop(session.id, None)
            self._recent[scope][session.id] = None

    def _leave_lists(self, session: StoredSession) -> None:
        for scope in session.scopes():
            del self._recent[scope][session.id]
            if scope and not self._recent[scope]:
                del self._recent[scope]


class StoredSession(msgspec.Struct):
    """A session as it is kept in memory: its messages as JSON, and where each of them is.

    A message's position counts from ``first``, that of the oldest: to delete what is near either
    end moves none of the others.
    """

    id: str
    agent_id: str
    user_id: str | None
    metadata: bytes
    created_at: int = msgspec.field(default_factory=now_microseconds)
    updated_at: int = 0
    version: int = 0
    activity: int = 0
    # Kept as JSON, so that no later change to a caller's object reaches the store.
    bodies: list[bytes] = []
    positions: dict[str, int] = {}
    first: int = 0

    def place(self, message_id: str) -> int:
        """Give a message's place in the list."""
        return self.positions[message_id] - self.first

    def bounds(self, limit: int | None, before: str | None, after: str | None) -> tuple[int, int]:
        """Give the places that a read begins at and ends before."""
        start, end = 0, len(self.bodies)
        for named, way in ((before, "before"), (after, "on from")):
            if named and named not in self.positions:
                raise InvalidMessageError(f"the session has no message {named!r} to go {way}")
        if after is not None:
            start = self.place(after) + 1 if after else 0
            return start, end if limit is None else start + limit
        if before is not None:
            end = self.place(before)
        return start if limit is None else max(0, end - limit), end

    def add(self, records: Iterable[tuple[str, bytes]]) -> int:
        """Add the messages that are not there yet, and count them."""
        before = len(self.bodies)
        for message_id, body in records:
            if message_id not in self.positions:
                self.positions[message_id] = self.first + len(self.bodies)
                self.bodies.append(body)
        return len(self.bodies) - before

    def remove(self, message_ids: Iterable[str]) -> list[str]:
        """Take those messages out that are there, and give their ids in order."""
        places = {self.place(held): held for held in message_ids if held in self.positions}
        half = len(self.bodies) // 2
        old = [place for place in places if place < half]
        new = [place for place in places if place >= half]
        if new:
            self._remove_new(min(new), set(new))
        if old:
            self._remove_old(max(old) + 1, set(old))
        return [places[place] for place in sorted(places)]

    def _remove_new(self, start: int, gone: set[int]) -> None:
        ids = list(islice(reversed(self.positions), len(self.bodies) - start))[::-1]
        kept = [
            (message_id, self.bodies[place])
            for place, message_id in enumerate(ids, start)
            if place not in gone
        ]
        del self.bodies[start:]
        for message_id in ids:
            del self.positions[message_id]
        self.add(kept)

    def _remove_old(self, end: int, gone: set[int]) -> None:
        ids = list(islice(self.positions, end))
        kept = [place for place in range(end) if place not in gone]
        self.bodies[:end] = [self.bodies[place] for place in kept]
        self.first += len(gone)
        for place in gone:
            del self.positions[ids[place]]
        for place, old in enumerate(kept):
            self.positions[ids[old]] = self.first + place

    def clear(self) -> None:
        """Take all messages out."""
        self.bodies, self.positions, self.first = [], {}, 0

    def scopes(self) -> Iterator[tuple[str, str | None] | None]:
        """Give the lists that the session stands in."""
        yield None
        yield ("agent", self.agent_id)
        if self.user_id is not None:
            yield ("user", self.user_id)

    def info(self) -> SessionInfo:
        """Give the session without its messages."""
        return SessionInfo(**self.head())

    def last(self, limit: int | None) -> list[bytes]:
        """Give the last messages."""
        return self.bodies[0 if limit is None else max(0, len(self.bodies) - limit) :]

    def head(self) -> dict[str, Any]:
        """Give the fields that `SessionData` and `SessionInfo` share."""
        return {
            "id": self.id,
            "agent_id": self.agent_id,
            "user_id": self.user_id,
            "metadata": decode_metadata(self.metadata),
            "created_at": from_microseconds(self.created_at),
            "updated_at": from_microseconds(self.updated_at),
            "version": self.version,
            "message_count": len(self.bodies),
        }


def _encoded(messages: Sequence[SessionMessage]) -> list[tuple[str, bytes]]:
    return [(str(message.id), encode_message(message)) for message in messages]


def _activity(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        return int(cursor)
    except ValueError:
        raise InvalidSessionError("cursor is not one that list_sessions gave") from None


def _refuse(request: object) -> None:
    raise SessionStoreError(f"a flow in memory asks for nothing, this one for a {type(request)}")
