"""Any sequence of operations, on a store and on a plain model of one: both say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from sessionstore.errors import (
    InvalidMessageError,
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
)
from sessionstore.models import SessionData, SessionInfo, SessionMessage, SessionPage, new_id
from sessionstore.store import SessionStore
from sessionstore.testing.colours import ColouredSuite
from sessionstore.testing.strategies import MODEST, json_objects, texts

__all__ = ["StatefulContract"]


class StatefulContract(ColouredSuite):
    """A store behaves as a few dicts and lists would."""

    def test_any_operations(self, store: SessionStore) -> None:
        """Whatever hypothesis does to both, both answer the same."""
        both = type("Both", (_Both,), {"store": store})
        run_state_machine_as_test(both, settings=MODEST)


@dataclass
class _Session:
    """What the model knows of a session: all but its times."""

    id: str
    agent_id: str
    user_id: str | None
    metadata: dict[str, Any] = field(default_factory=dict)
    messages: list[SessionMessage] = field(default_factory=list)
    version: int = 0

    def add(self, messages: list[SessionMessage]) -> int:
        held = {message.id for message in self.messages}
        before = len(self.messages)
        for message in messages:
            if message.id not in held:
                held.add(message.id)
                self.messages.append(message)
        return len(self.messages) - before

    def place(self, message_id: str | None) -> int | None:
        places = [place for place, held in enumerate(self.messages) if held.id == message_id]
        return places[0] if places else None


class _Model:
    """A store in a dict, whose last session is the one written to last."""

    def __init__(self) -> None:
        self.sessions: dict[str, _Session] = {}

    def create(
        self,
        session_id: str,
        *,
        agent_id: str,
        user_id: str | None,
        messages: list[SessionMessage],
        metadata: dict[str, Any],
    ) -> dict[str, Any]:
        if self._find(session_id, user_id):
            raise SessionExistsError
        session = _Session(session_id, agent_id, user_id, metadata)
        session.add(messages)
        self._written(session)
        return _whole(session, None)

    def get(
        self, session_id: str, *, limit: int | None, user_id: str | None
    ) -> dict[str, Any] | None:
        session = self._find(session_id, user_id)
        return _whole(session, limit) if session else None

    def get_messages(
        self,
        session_id: str,
        *,
        limit: int | None,
        before: str | None,
        user_id: str | None,
        keep_system: bool,
    ) -> list[SessionMessage]:
        session = self._find(session_id, user_id)
        if session is None:
            return []
        log = session.messages
        if before is not None:
            place = session.place(before)
            if place is None:
                raise InvalidMessageError
            log = log[:place]
        last = _last(log, limit)
        kept = log[:1] if keep_system and len(last) < len(log) else []
        return [message for message in kept if message.role == "system"] + last

    def append_messages(
        self,
        session_id: str,
        messages: list[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> int:
        session = self._find(session_id, user_id)
        _require_version(session.version if session else 0, expected_version)
        session = session or _Session(session_id, agent_id, user_id)
        added = session.add(messages)
        if added:
            self._written(session)
        return added

    def replace_message(
        self, session_id: str, message: SessionMessage, *, user_id: str | None
    ) -> None:
        session = self._require(session_id, user_id)
        place = session.place(message.id)
        if place is None:
            raise SessionNotFoundError
        session.messages[place] = message
        self._written(session)

    def update(
        self,
        session_id: str,
        *,
        messages: list[SessionMessage] | None,
        metadata: dict[str, Any] | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> dict[str, Any]:
        session = self._require(session_id, user_id)
        _require_version(session.version, expected_version)
        merged = {**session.metadata, **(metadata or {})}
        removed = [key for key, value in (metadata or {}).items() if value is None]
        session.metadata = {key: merged[key] for key in merged if key not in removed}
        if messages is not None:
            session.messages = []
            session.add(messages)
        self._written(session)
        return _head(session)

    def delete(self, session_id: str, *, user_id: str | None) -> bool:
        found = self._find(session_id, user_id) is not None
        self.sessions.pop(session_id, None)
        return found

    def listed(self, agent_id: str | None, user_id: str | None) -> list[dict[str, Any]]:
        return [
            _head(session)
            for session in reversed(self.sessions.values())
            if agent_id in (None, session.agent_id) and user_id in (None, session.user_id)
        ]

    def _find(self, session_id: str, user_id: str | None) -> _Session | None:
        session = self.sessions.get(session_id)
        if session and user_id and session.user_id and user_id != session.user_id:
            raise SessionAccessError
        return session

    def _require(self, session_id: str, user_id: str | None) -> _Session:
        session = self._find(session_id, user_id)
        if session is None:
            raise SessionNotFoundError
        return session

    def _written(self, session: _Session) -> None:
        session.version += 1
        self.sessions.pop(session.id, None)
        self.sessions[session.id] = session


def _require_version(version: int, expected: int | None) -> None:
    if expected not in (None, version):
        raise SessionConflictError


def _last(log: list[SessionMessage], limit: int | None) -> list[SessionMessage]:
    return list(log) if limit is None else log[max(0, len(log) - limit) :]


def _head(session: _Session | SessionInfo | SessionData) -> dict[str, Any]:
    names = ("id", "agent_id", "user_id", "metadata", "version")
    count = getattr(session, "message_count", None)
    if isinstance(session, _Session):
        count = len(session.messages)
    return {**{name: getattr(session, name) for name in names}, "message_count": count}


def _whole(session: _Session | SessionData, limit: int | None) -> dict[str, Any]:
    return {**_head(session), "message_count": None, "messages": _last(session.messages, limit)}


def _told(answer: Any) -> Any:
    """Give what a store answered in the model's words."""
    if isinstance(answer, SessionData):
        return _whole(answer, None)
    if isinstance(answer, SessionInfo):
        return _head(answer)
    if isinstance(answer, SessionPage):
        return [_head(info) for info in answer.sessions]
    return answer


def _outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return _told(call(*args, **kwargs))
    except SessionStoreError as error:
        return type(error)


_sessions = st.sampled_from(["a", "A", "b:{c}", "\0"])
_users = st.sampled_from([None, None, "u", "U"])
_agents = st.sampled_from(["x", "y"])
_limits = st.none() | st.integers(0, 6)
_message_ids = st.sampled_from("abcdefgh")
_roles = st.sampled_from(["user", "assistant", "system", "system", "tool"])
_one_message = st.builds(SessionMessage, role=_roles, content=texts, id=_message_ids)
_batches = st.lists(_one_message, max_size=5)
_changes = st.dictionaries(st.sampled_from("abc"), st.none() | st.integers() | json_objects)
_seen = st.sampled_from([None, None, None, 0, 0, 1, -1])


class _Both(RuleBasedStateMachine):
    """A store and the model, which are asked the same."""

    store: SessionStore

    def __init__(self) -> None:
        super().__init__()
        self.model = _Model()
        # One storage serves all examples: each has ids of its own.
        self.own = new_id()

    def agree(self, method: str, session_id: str, *args: Any, **kwargs: Any) -> None:
        """Ask both, and compare their answers, and the session after it."""
        kwargs = {**kwargs, "user_id": self.owned(kwargs.get("user_id"))}
        session_id = f"{session_id}{self.own}"
        expected = _outcome(getattr(self.model, method), session_id, *args, **kwargs)
        assert _outcome(getattr(self.store, method), session_id, *args, **kwargs) == expected
        session = self.model.sessions.get(session_id)
        found = self.store.get(session_id)
        assert _told(found) == (_whole(session, None) if session else None)

    def owned(self, name: str | None) -> str | None:
        """Make a user's or an agent's name one of this example."""
        return None if name is None else f"{name}{self.own}"

    def version(self, session_id: str, seen: int | None) -> int | None:
        """Give the version expected: so far from the true one."""
        session = self.model.sessions.get(f"{session_id}{self.own}")
        return None if seen is None else max(0, (session.version if session else 0) + seen)

    @rule(id=_sessions, agent=_agents, user=_users, batch=_batches, metadata=json_objects)
    def create(
        self,
        id: str,
        agent: str,
        user: str | None,
        batch: list[SessionMessage],
        metadata: dict[str, Any],
    ) -> None:
        self.agree(
            "create",
            id,
            agent_id=self.owned(agent),
            user_id=user,
            messages=batch,
            metadata=metadata,
        )

    @rule(id=_sessions, agent=_agents, user=_users, batch=_batches, seen=_seen)
    def append(
        self, id: str, agent: str, user: str | None, batch: list[SessionMessage], seen: int | None
    ) -> None:
        expected = self.version(id, seen)
        self.agree(
            "append_messages",
            id,
            batch,
            agent_id=self.owned(agent),
            user_id=user,
            expected_version=expected,
        )

    @rule(id=_sessions, user=_users, message=_one_message)
    def replace(self, id: str, user: str | None, message: SessionMessage) -> None:
        self.agree("replace_message", id, message, user_id=user)

    @rule(id=_sessions, user=_users, batch=_batches, seen=_seen)
    def update_messages(
        self, id: str, user: str | None, batch: list[SessionMessage], seen: int | None
    ) -> None:
        self.update(id, user, batch, None, seen)

    @rule(id=_sessions, user=_users, changes=_changes, seen=_seen)
    def update_metadata(
        self, id: str, user: str | None, changes: dict[str, Any], seen: int | None
    ) -> None:
        self.update(id, user, None, changes, seen)

    @rule(id=_sessions, user=_users, batch=_batches, changes=_changes, seen=_seen)
    def update(
        self,
        id: str,
        user: str | None,
        batch: list[SessionMessage] | None,
        changes: dict[str, Any] | None,
        seen: int | None,
    ) -> None:
        expected = self.version(id, seen)
        self.agree(
            "update", id, messages=batch, metadata=changes, user_id=user, expected_version=expected
        )

    @rule(id=_sessions, user=_users)
    def delete(self, id: str, user: str | None) -> None:
        self.agree("delete", id, user_id=user)

    @rule(id=_sessions, user=_users, limit=_limits)
    def get(self, id: str, user: str | None, limit: int | None) -> None:
        self.agree("get", id, limit=limit, user_id=user)

    @rule(
        id=_sessions,
        user=_users,
        limit=_limits,
        before=st.none() | _message_ids,
        system=st.booleans(),
    )
    def read(
        self, id: str, user: str | None, limit: int | None, before: str | None, system: bool
    ) -> None:
        self.agree("get_messages", id, limit=limit, before=before, user_id=user, keep_system=system)

    @rule(agent=_agents, user=_users, limit=st.integers(1, 3))
    def list_by_agent(self, agent: str, user: str | None, limit: int) -> None:
        self.compare_lists(self.owned(agent), self.owned(user), limit)

    @rule(user=st.sampled_from(["u", "U"]), limit=st.integers(1, 3))
    def list_by_user(self, user: str, limit: int) -> None:
        self.compare_lists(None, self.owned(user), limit)

    def compare_lists(self, agent_id: str | None, user_id: str | None, limit: int) -> None:
        """Page through both."""
        left = self.model.listed(agent_id, user_id)
        cursor = None
        while True:
            page = self.store.list_sessions(
                agent_id=agent_id, user_id=user_id, limit=limit, cursor=cursor
            )
            assert _told(page) == left[:limit]
            left, cursor = left[limit:], page.cursor
            assert (cursor is None) == (not left)
            if cursor is None:
                return
