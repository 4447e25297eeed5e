"""The sessions of a store, each once, while others write to them."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Any, NamedTuple

from sessionstore.errors import StoreUnavailableError
from sessionstore.models import SessionInfo, SessionPage
from sessionstore.operations import ListSessions
from sessionstore.store import SessionStore
from sessionstore.transfer.requests import TransferFlow, ask

__all__ = ["Listing", "Wanted", "wanted"]

_PAGE = 100


class Wanted(NamedTuple):
    """Which sessions are wanted.

    Attributes:
        user_id: Only those of this user; ``None`` for those of all, and of none.
        agent_id: Only those with this agent; ``None`` for all.
    """

    user_id: str | None
    agent_id: str | None

    def includes(self, session: Any) -> bool:
        """Tell whether a session is wanted, by its owner and its agent."""
        user_id, agent_id = self
        return user_id in (None, session.user_id) and agent_id in (None, session.agent_id)


def wanted(user_id: str | None, agent_id: str | None) -> Wanted:
    """Check by what sessions are picked.

    Raises:
        InvalidSessionError: One of these is no id.
    """
    asked = ListSessions(agent_id, user_id)
    return Wanted(asked.user_id, asked.agent_id)


class Listing:
    """Goes through the sessions of a store, newest activity first.

    Of those of one time the first in the list is the last here: so what is restored in this order
    stands in the other store's list as it does in this one's.

    A session that is written to meanwhile moves to the front, which was passed. So when the end is
    reached, what was written to since the beginning is gone through as well, and so on, until each
    session that was there at the beginning was come upon: until a round of one page, in which none
    can have moved, has no such session that is new. Their ids are remembered.

    Args:
        store: The store.
        wanted: Which sessions.
    """

    def __init__(self, store: SessionStore, wanted: Wanted) -> None:
        self._store, self._wanted = store, wanted
        self._cursor: str | None = None
        self._since: datetime | None = None  # what was last written to before was gone through
        self._front: datetime | None = None  # of this round
        self._began: datetime | None = None
        self._coming: deque[str] = deque()
        self._alike: list[str] = []  # of one time, which is:
        self._time: datetime | None = None
        self._seen: set[str] = set()
        self._pages = 0  # of this round
        self._found_older, self._is_over = False, False

    def next(self) -> TransferFlow[str | None]:
        """Give the id of the next session; ``None`` behind the last.

        Raises:
            StoreUnavailableError: The store can't list all of them now.
        """
        while not self._coming and not self._is_over:
            page = yield from ask(self._store, self._page())
            if page.partial:
                raise StoreUnavailableError("the store lists only some of its sessions: try later")
            self._note(page)
        return self._coming.popleft() if self._coming else None

    def _page(self) -> ListSessions:
        user_id, agent_id = self._wanted
        named = agent_id, user_id, _PAGE, self._cursor
        return ListSessions(*named, updated_after=self._since)

    def _note(self, page: SessionPage) -> None:
        self._pages += 1
        if self._front is None and page.sessions:
            self._front = page.sessions[0].updated_at
            self._began = self._began or self._front
        for info in page.sessions:
            if info.id not in self._seen:
                self._seen.add(info.id)
                self._take(info)
                self._found_older |= self._began is None or info.created_at <= self._began
        self._cursor = page.cursor
        if page.cursor is None:
            self._end_time()
            self._begin_round()

    def _take(self, info: SessionInfo) -> None:
        if info.updated_at != self._time:
            self._end_time()
        self._alike.append(info.id)
        self._time = info.updated_at

    def _end_time(self) -> None:
        self._coming.extend(reversed(self._alike))
        self._alike = []

    def _begin_round(self) -> None:
        has_all = self._pages == 1 and not self._found_older
        self._is_over = has_all or self._front is None
        self._since, self._front = self._front, None
        self._pages, self._found_older = 0, False
