"""A plain model of a store: lists in a dict, for one caller at a time, without a clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sessionstore.errors import (
    InvalidMessageError,
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionLeasedError,
    SessionNotFoundError,
)
from sessionstore.models import SessionData, SessionInfo, SessionMessage, SessionPage

__all__ = ["Model", "Visible", "visible"]

Visible = dict[str, Any]
"""What is said of a session, but for its times."""


def visible(answer: Any) -> Any:
    """Give what a store answers in the words of the model."""
    if isinstance(answer, (SessionData, SessionInfo)):
        return {**_head(answer), "messages": answer.messages}
    if isinstance(answer, SessionPage):
        return [visible(info) for info in answer.sessions]
    return answer


def _head(session: _Session | SessionData | SessionInfo) -> Visible:
    names = ("id", "agent_id", "user_id", "metadata", "version", "message_count")
    return {name: getattr(session, name) for name in names}


@dataclass
class _Session:
    id: str
    agent_id: str
    user_id: str | None
    metadata: dict[str, Any] = field(default_factory=dict)
    messages: list[SessionMessage] = field(default_factory=list)
    version: int = 0

    def add(self, messages: list[SessionMessage]) -> int:
        new = {message.id: message for message in reversed(messages)}
        for held in self.messages:
            new.pop(held.id, None)
        self.messages += sorted(new.values(), key=messages.index)
        return len(new)

    def place(self, message_id: str | None) -> int | None:
        held = [message.id for message in self.messages]
        return held.index(message_id) if message_id in held else None

    @property
    def message_count(self) -> int:
        return len(self.messages)

    def info(self, last: int = 0) -> Visible:
        return {**_head(self), "messages": _last(self.messages, last)}

    def data(self, limit: int | None = None) -> Visible:
        return {**_head(self), "messages": _last(self.messages, limit)}


class Model:
    """A store whose methods have the names and arguments of the real one's, all of them given."""

    def __init__(self) -> None:
        """Make an empty one."""
        # The session written to last is the last one.
        self._sessions: dict[str, _Session] = {}
        # Of each session the newest token, counted from 1, and who holds the lease.
        self._leases: dict[str, tuple[int, str | None]] = {}

    def create(
        self,
        session_id: str,
        *,
        agent_id: str,
        user_id: str | None,
        messages: list[SessionMessage],
        metadata: dict[str, Any],
    ) -> Visible:
        """Make a session."""
        if self._find(session_id, user_id):
            raise SessionExistsError
        session = _Session(session_id, agent_id, user_id, metadata)
        session.add(messages)
        self._written(session)
        return session.data()

    def get(self, session_id: str, *, limit: int | None, user_id: str | None) -> Visible | None:
        """Read a session."""
        session = self._find(session_id, user_id)
        return session.data(limit) if session else None

    def get_messages(
        self,
        session_id: str,
        *,
        limit: int | None,
        before: str | None,
        after: str | None,
        user_id: str | None,
        keep_system: bool,
    ) -> list[SessionMessage]:
        """Read messages."""
        if after is not None and (before is not None or keep_system):
            raise InvalidMessageError
        session = self._find(session_id, user_id)
        if session is None:
            return []
        if after is not None:
            start = session.place(after) if after else -1
            if start is None:
                raise InvalidMessageError
            return session.messages[start + 1 :][:limit]
        end = len(session.messages) if before is None else session.place(before)
        if end is None:
            raise InvalidMessageError
        log = session.messages[:end]
        last = _last(log, limit)
        first = log[:1] if keep_system and len(last) < len(log) else []
        return [message for message in first if message.role in ("system", "developer")] + last

    def append_messages(
        self,
        session_id: str,
        messages: list[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> int:
        """Append messages."""
        session = self._find(session_id, user_id)
        self._require_version(session, expected_version)
        session = session or _Session(session_id, agent_id, user_id)
        added = session.add(messages)
        if added:
            self._written(session)
        return added

    def replace_message(
        self, session_id: str, message: SessionMessage, *, user_id: str | None
    ) -> None:
        """Swap a message."""
        session = self._require(session_id, user_id)
        place = session.place(message.id)
        if place is None:
            raise SessionNotFoundError
        session.messages[place] = message
        self._written(session)

    def delete_messages(
        self,
        session_id: str,
        message_ids: list[str],
        *,
        user_id: str | None,
        expected_version: int | None,
    ) -> list[str]:
        """Delete messages."""
        session = self._find(session_id, user_id)
        self._require_version(session, expected_version)
        if session is None:
            return []
        deleted = [str(m.id) for m in session.messages if m.id in message_ids]
        if deleted:
            session.messages = [m for m in session.messages if m.id not in message_ids]
            self._written(session)
        return deleted

    def rewind(
        self,
        session_id: str,
        *,
        to: str | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> list[str]:
        """Delete what is behind a message."""
        session = self._find(session_id, user_id)
        self._require_version(session, expected_version)
        if session is None and to is None:
            return []
        session = self._require(session_id, user_id)
        place = -1 if to is None else session.place(to)
        if place is None:
            raise SessionNotFoundError
        deleted = [str(m.id) for m in session.messages[place + 1 :]]
        if deleted:
            del session.messages[place + 1 :]
            self._written(session)
        return deleted

    def update(
        self,
        session_id: str,
        *,
        messages: list[SessionMessage] | None,
        metadata: dict[str, Any] | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> Visible:
        """Replace messages, merge metadata."""
        session = self._require(session_id, user_id)
        self._require_version(session, expected_version)
        for key, value in (metadata or {}).items():
            session.metadata = {**session.metadata, key: value}
            if value is None:
                del session.metadata[key]
        if messages is None:
            session.version += 1  # and it stays where it is in lists
            return session.info()
        session.messages = []
        session.add(messages)
        self._written(session)
        return session.info()

    def fork(
        self,
        session_id: str,
        new_session_id: str,
        *,
        at: str | None,
        user_id: str | None,
        metadata: dict[str, Any] | None,
    ) -> Visible:
        """Copy a session."""
        source = self._require(session_id, user_id)
        last = source.place(at) if at else len(source.messages) - 1
        if last is None:
            raise SessionNotFoundError
        if self._find(new_session_id, user_id):
            raise SessionExistsError
        copy = _Session(new_session_id, source.agent_id, source.user_id, dict(source.metadata))
        copy.messages = source.messages[: last + 1]
        for key, value in (metadata or {}).items():
            copy.metadata[key] = value
            if value is None:
                del copy.metadata[key]
        message_id = copy.messages[-1].id if copy.messages else None
        copy.metadata["forked_from"] = {"session_id": session_id, "message_id": message_id}
        self._written(copy)
        return copy.info()

    def reseal(
        self,
        session_id: str,
        *,
        old: list[SessionMessage],
        new: list[SessionMessage],
        old_metadata: dict[str, Any],
        new_metadata: dict[str, Any],
        user_id: str | None,
    ) -> int:
        """Swap what is still as it was, which is no write to the session."""
        session = self._find(session_id, user_id)
        if session is None:
            return 0
        swapped = 0
        for before, after in zip(old, new, strict=True):
            if before in session.messages:
                session.messages[session.messages.index(before)] = after
                swapped += 1
        for key, value in old_metadata.items():
            if key in session.metadata and session.metadata[key] == value:
                session.metadata = {**session.metadata, key: new_metadata[key]}
                swapped += 1
        return swapped

    def held(self, session_id: str) -> tuple[list[SessionMessage], dict[str, Any]]:
        """Give the messages and the metadata of a session, whoever asks."""
        session = self._sessions.get(session_id)
        return (session.messages[:], session.metadata) if session else ([], {})

    def delete(self, session_id: str, *, user_id: str | None) -> bool:
        """Delete a session."""
        self._find(session_id, user_id)
        return self._sessions.pop(session_id, None) is not None

    def acquire(self, session_id: str, *, user_id: str | None, holder: str, take_over: bool) -> int:
        """Take a lease."""
        self._find(session_id, user_id)
        token, held_by = self._leases.get(session_id, (0, None))
        if held_by not in (None, holder) and not take_over:
            raise SessionLeasedError
        if held_by != holder:
            token += 1
        self._leases[session_id] = token, holder
        return token

    def fence(self, session_id: str, *, token: int, user_id: str | None) -> None:  # noqa: ARG002
        """Refuse who has lost a lease."""
        newest, held_by = self._leases.get(session_id, (0, None))
        if held_by is None or token != newest:
            raise SessionLeasedError

    def release(self, session_id: str, *, holder: str) -> bool:
        """Give a lease back."""
        token, held_by = self._leases.get(session_id, (0, None))
        if held_by != holder:
            return False
        self._leases[session_id] = token, None
        return True

    def listed(self, agent_id: str | None, user_id: str | None, last: int) -> list[Visible]:
        """List all sessions of an agent, a user, or both, with their last messages."""
        return [
            session.info(last)
            for session in reversed(self._sessions.values())
            if agent_id in (None, session.agent_id) and user_id in (None, session.user_id)
        ]

    def version(self, session_id: str) -> int:
        """Give the version that a session is at."""
        session = self._sessions.get(session_id)
        return session.version if session else 0

    def _find(self, session_id: str, user_id: str | None) -> _Session | None:
        session = self._sessions.get(session_id)
        if session and None not in (user_id, session.user_id) and user_id != session.user_id:
            raise SessionAccessError
        return session

    def _require(self, session_id: str, user_id: str | None) -> _Session:
        session = self._find(session_id, user_id)
        if session is None:
            raise SessionNotFoundError
        return session

    def _require_version(self, session: _Session | None, expected: int | None) -> None:
        if expected not in (None, session.version if session else 0):
            raise SessionConflictError

    def _written(self, session: _Session) -> None:
        session.version += 1
        self._sessions.pop(session.id, None)
        self._sessions[session.id] = session


def _last(log: list[SessionMessage], limit: int | None) -> list[SessionMessage]:
    return log[:] if limit is None else log[max(0, len(log) - limit) :]
