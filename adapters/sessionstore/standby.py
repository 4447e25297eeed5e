"""`Standby`: what a fallback knows of its primary's sessions, in memory and within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.flow import Flow
from sessionstore.memory import InMemorySessionStore, StoredSession
from sessionstore.models import (
    SessionData,
    SessionInfo,
    SessionMessage,
    encode_message,
    encode_metadata,
    to_microseconds,
)
from sessionstore.writes import PendingWrite

__all__ = ["Standby"]


class Standby(InMemorySessionStore):
    """The last messages of the sessions last used: an in-memory store that a fallback fills.

    It answers as the primary would, as far as it knows. Where it can't know whose session one is,
    or what an older message says, it raises `StoreUnavailableError`.

    Args:
        max_sessions: How many sessions; the least recently used one leaves first.
        max_messages: How many of the last messages of each are kept; up to twice as many are.
    """

    def __init__(self, max_sessions: int, max_messages: int) -> None:
        super().__init__()
        self._max_sessions = max_sessions
        self._max_messages = max_messages
        self._used: OrderedDict[str, None] = OrderedDict()
        # The sessions whose owner, or lack of one, was told by the primary or by their maker.
        self._certain: set[str] = set()
        # The ids of messages that were cut off, so that none of them is taken for a new one.
        self._older: dict[str, set[str]] = {}
        self._pinned: set[str] = set()

    # -- Learning from the primary's answers ------------------------------------------------------

    def learn_write(self, write: PendingWrite, result: Any) -> None:
        """Take note of a write that the primary has done, and of what it answered."""
        try:
            self._play(write.on(self))
        except SessionStoreError:  # what was known is out of date
            self.forget(write.session_id)
        with self._lock:
            session = self._sessions.get(write.session_id)
            if session and isinstance(result, (SessionData, SessionInfo)):
                self._set_head(session, result)

    def learn_session(self, data: SessionData, *, whole: bool) -> None:
        """Take note of a session that the primary has given, whole or with its last messages."""
        with self._lock:
            session = self._sessions.get(data.id)
            if session is None or session.version != data.version:
                session = self._learn(data.id, data.messages, data.user_id, whole=whole)
            self._set_head(session, data)

    def learn_messages(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        user_id: str | None,
        *,
        whole: bool,
    ) -> None:
        """Take note of a session's last messages, which tell of its owner only who may read."""
        with self._lock:
            self._learn(session_id, messages, user_id, whole=whole)

    def forget(self, session_id: str) -> None:
        """Know nothing of a session any more."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is not None:
                self._forget(session)

    # -- What an outage needs ---------------------------------------------------------------------

    def knows(self, session_id: str) -> bool:
        """Tell whether the session was seen."""
        return session_id in self._sessions

    def last_ids(self, session_id: str) -> list[str]:
        """Give the ids of the last messages known of a session."""
        session = self._sessions.get(session_id)
        return list(session.positions)[-self._max_messages :] if session else []

    def pin(self, session_id: str) -> StoredSession | None:
        """Keep a session whatever the bounds, and give a copy of what is known of it."""
        with self._lock:
            self._pinned.add(session_id)
            session = self._sessions.get(session_id)
            return _copy(session) if session else None

    def unpin(self, session_id: str) -> None:
        """Let the bounds hold for a session again."""
        with self._lock:
            self._pinned.discard(session_id)
            self._keep_bounds()

    def restore(self, session: StoredSession) -> None:
        """Know of a session what was known of it in another life."""
        with self._lock:
            self._use(self._put(session))

    def has_message(self, write: PendingWrite) -> bool:
        """Tell whether the message that a write names is among those known."""
        session = self._sessions.get(write.session_id)
        ids = [*write.message_ids, *(message.id for message in write.messages or ())]
        return session is not None and session.positions.keys() >= set(ids)

    def check(self, write: PendingWrite) -> Any:
        """Give what a write would give, or raise what it would raise, and do nothing."""
        if write.kind == "append":
            for message in write.messages or ():
                encode_message(message)
            with self._lock:
                session = self._find(write.session_id, write.user_id)
            there = session.positions if session else {}
            older = self._older.get(write.session_id, set())
            return sum(m.id not in there and m.id not in older for m in write.messages or ())
        trial = Standby(1, self._max_messages)
        with self._lock:
            session = self._sessions.get(write.session_id)
            if session is not None:
                trial.pin(session.id)
                trial._older = {session.id: self._older.get(session.id, set())}
                trial._certain = self._certain & {session.id}
                trial._put(_copy(session))
        return trial._play(write.on(trial))

    def show(self, write: PendingWrite) -> Any:
        """Do a write that the journal has taken in, for the readers to see."""
        result = self._play(write.on(self))
        if write.kind == "create":
            self._certain.add(write.session_id)
        return result

    # -- As the in-memory store, within what is known ---------------------------------------------

    def _append_messages(
        self, session_id: str, messages: Sequence[SessionMessage], **options: Any
    ) -> Flow[int]:
        older = self._older.get(session_id, ())
        new = [message for message in messages if message.id not in older]
        return super()._append_messages(session_id, new, **options)

    def _delete_messages(
        self, session_id: str, message_ids: Sequence[str], **options: Any
    ) -> Flow[list[str]]:
        deleted = yield from super()._delete_messages(session_id, message_ids, **options)
        self._older.get(session_id, set()).difference_update(message_ids)
        return deleted

    def _get_messages(self, session_id: str, **options: Any) -> Flow[list[SessionMessage]]:
        older = self._older.get(session_id, ())
        if options["before"] in older or options["after"] in older:
            raise StoreUnavailableError("older messages can't be read until the store is back")
        return super()._get_messages(session_id, **options)

    def _find(self, session_id: str, user_id: str | None) -> StoredSession | None:
        session = self._sessions.get(session_id)
        unsure = session is not None and session_id not in self._certain
        if unsure and session is not None and user_id not in (None, session.user_id):
            raise StoreUnavailableError(
                "whose session this is can't be told until the store is back"
            )
        return super()._find(session_id, user_id)

    def _written(self, session: StoredSession) -> None:
        super()._written(session)
        self._use(session)

    def _forget(self, session: StoredSession) -> None:
        super()._forget(session)
        self._used.pop(session.id, None)
        self._certain.discard(session.id)
        self._older.pop(session.id, None)

    # -- With the lock held -----------------------------------------------------------------------

    def _learn(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        user_id: str | None,
        *,
        whole: bool,
    ) -> StoredSession:
        last = messages[-self._max_messages :]
        records = [(str(message.id), encode_message(message)) for message in last]
        session = self._sessions.get(session_id)
        if session is None:
            session = self._put(StoredSession(session_id, "default", user_id, b"{}"))
        elif whole or not any(message_id in session.positions for message_id, _ in records):
            session.clear()
        older = (str(message.id) for message in messages[: -self._max_messages])
        self._older.setdefault(session_id, set()).update(older)
        session.add(records)
        for message_id, body in records:
            session.bodies[session.place(message_id)] = body
        self._use(session)
        return session

    def _set_head(self, session: StoredSession, head: SessionData | SessionInfo) -> None:
        if (session.user_id, session.agent_id) != (head.user_id, head.agent_id):
            self._leave_lists(session)
            session.user_id, session.agent_id = head.user_id, head.agent_id
            self._join_lists(session)
        session.metadata = encode_metadata(head.metadata)
        session.created_at = to_microseconds(head.created_at)
        session.updated_at = to_microseconds(head.updated_at)
        session.version = head.version
        self._certain.add(session.id)

    def _put(self, session: StoredSession) -> StoredSession:
        version, updated_at = session.version, session.updated_at
        super()._written(session)
        session.version, session.updated_at = version, updated_at or session.updated_at
        return session

    def _use(self, session: StoredSession) -> None:
        self._used[session.id] = None
        self._used.move_to_end(session.id)
        self._cut(session)
        self._keep_bounds()

    def _cut(self, session: StoredSession) -> None:
        cut = len(session.bodies) - self._max_messages
        if cut > self._max_messages and session.id not in self._pinned:
            ids = list(session.positions)
            self._older.setdefault(session.id, set()).update(ids[:cut])
            session.remove(ids[:cut])

    def _keep_bounds(self) -> None:
        surplus = len(self._used) - self._max_sessions
        if surplus > 0:
            leaving = [sid for sid in self._used if sid not in self._pinned][:surplus]
            for session_id in leaving:
                self._forget(self._sessions[session_id])


def _copy(session: StoredSession) -> StoredSession:
    return replace(session, bodies=session.bodies.copy(), positions=session.positions.copy())
