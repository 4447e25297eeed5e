"""`RecentSessions`: sessions in memory in the order of their last writes, as lists give them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from operator import attrgetter

from sessionstore._in_memory.session import StoredSession
from sessionstore._in_memory.table import SessionTable, place_of

__all__ = ["RecentSessions"]


class RecentSessions(SessionTable[StoredSession]):
    """Sessions, and in which order they were written to.

    Their ids, the last one written to at the end: all of them under None, and once more by agent
    and by owner. A write moves its session to the end, so that no list needs sorting; but for those
    that were restored, whose times are older.
    """

    def __init__(self, newest: int = 0) -> None:
        """Make an empty table."""
        super().__init__(newest)
        self._recent: defaultdict[tuple[str, str | None] | None, dict[str, None]] = defaultdict(
            dict
        )
        self._unsorted: set[tuple[str, str | None] | None] = set()

    def newest_first(self, agent_id: str | None, user_id: str | None) -> Iterator[StoredSession]:
        """Give an agent's sessions, an owner's, an agent's with an owner, or all."""
        scope = ("user", user_id) if user_id is not None else None
        if scope is None and agent_id is not None:
            scope = ("agent", agent_id)
        self._sort(scope)
        for session_id in reversed(self._recent.get(scope, {})):
            session = self.sessions[session_id]
            if agent_id is None or session.agent_id == agent_id:
                yield session

    def _sort(self, scope: tuple[str, str | None] | None) -> None:
        if scope in self._unsorted:
            if scope in self._recent:
                sessions = map(self.sessions.__getitem__, self._recent[scope])
                in_order = map(attrgetter("id"), sorted(sessions, key=place_of))
                self._recent[scope] = dict.fromkeys(in_order)
            self._unsorted.discard(scope)

    def _enter(self, session: StoredSession) -> None:
        session_id = session.id
        self.sessions[session_id] = session
        for scope in session.scopes():
            recent = self._recent[scope]
            recent.pop(session_id, None)
            recent[session_id] = None
            if session.updated_at < self.newest:
                self._unsorted.add(scope)

    def _leave(self, session: StoredSession) -> None:
        for scope in session.scopes():
            self._recent[scope].pop(session.id, None)
            if scope and not self._recent[scope]:
                self._recent.pop(scope, None)
        self.sessions.pop(session.id, None)
