"""`SessionTable`: sessions in memory, and changes to them that Ctrl-C may break off anywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import count, islice
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from sessionstore._in_memory.session import StoredSession
from sessionstore._runtime.clock import clock
from sessionstore._runtime.fork_locks import fork_safe_rlock, release_if_held
from sessionstore.errors import CorruptMessageError, InvalidSessionError
from sessionstore.models import SessionInfo, SessionPage
from sessionstore.operations import ListSessions

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SessionTable", "page_of", "place_of"]

S = TypeVar("S", bound=StoredSession)
T = TypeVar("T")

_logger = logging.getLogger("sessionstore")


class _Noted(NamedTuple):
    """A change that was begun, with all that it comes to.

    Attributes:
        session: The session.
        change: What does it; ``None`` to take the session out.
        what: What that is called with.
        version: The session's version then.
        time: When it was last written to, then.
        activity: Its place in lists then.
        state: The number of its state then.
        moves: It is put in, or moved in lists.
        made: When the session was made, where this makes it; 0 where it says so itself.
    """

    session: Any
    change: Callable[[Any], None] | None
    what: Any = None
    version: int = 0
    time: int = 0
    activity: int = 0
    state: int = 0
    moves: bool = True
    made: int = 0


class SessionTable(Generic[S]):
    """Sessions by their ids, each change of which takes effect as a whole, or not at all.

    Ctrl-C may come between any two steps. So a change is noted, in one step, with all that it comes
    to, before it is begun. Each may be done twice: whoever finds it unfinished finishes it.

    What changes a session is called with the lock held. Whoever has taken it calls `settle` when an
    error ends what they did.

    Args:
        newest: The latest time of any change so far, in microseconds.

    Attributes:
        lock: Held by whoever changes anything.
        newest: The latest time of any change so far, in microseconds.
        sessions: The sessions. One that is looked at without the lock is as it was before the
            change that is under way, or after it.
    """

    def __init__(self, newest: int = 0) -> None:
        """Make an empty table."""
        self.lock: RLock = fork_safe_rlock()
        self.sessions: dict[str, S] = {}
        self.newest: int = newest
        self._states = count(1)
        self._unfinished: _Noted | None = None

    def look_up(self, session_id: str) -> S | None:
        """Give a session, with all that was ever begun."""
        if self._unfinished is not None:
            with self.lock:
                self.finish()
        return self.sessions.get(session_id)

    def change(
        self,
        session: S,
        change: Callable[[T], None],
        what: T,
        versions: int = 1,
        *,
        moves: bool = True,
        at: int | None = None,
    ) -> None:
        """Change a session, or put a new one in: it has another version then.

        Args:
            session: The session, just looked up or made.
            change: What does it, and may do it again.
            what: What that is called with.
            versions: For how many changes it counts.
            moves: It has another time and place in lists then, too: the first.
            at: The time, in microseconds, of a session that was restored, which says itself when
                it was made; ``None`` for now.
        """
        version, state = session.version + versions, next(self._states)
        place, made = (session.updated_at, session.activity), 0
        if moves:
            place = clock.stamp(self.newest) if at is None else at, state
            made = place[0] if version == 1 and at is None else 0
        # From here on it takes effect.
        self._unfinished = _Noted(session, change, what, version, *place, state, moves, made)
        self.finish()

    def note(self, time: int) -> None:
        """Have all changes from now on be later than a time, in microseconds."""
        self.newest = max(self.newest, time)

    def take_out(self, session: S) -> None:
        """Take a session out."""
        self._unfinished = _Noted(session, None)
        self.finish()

    def draft(self, session: S | None) -> tuple[Self, tuple[S | None, int]]:
        """Give a table with a copy of one session, to be changed there before `adopt`.

        Args:
            session: The session; ``None`` for an empty table.

        Returns:
            The table; and the copy with its version, which tell `adopt` whether it was changed.
        """
        draft = type(self)(self.newest)
        if session is None:
            return draft, (None, 0)
        copy = draft.sessions[session.id] = session.copy()
        return draft, (copy, copy.version)

    def adopt(self, session: S | None, lent: tuple[S | None, int], draft: S | None) -> None:
        """Have a session become, in one step, what a copy of it has become in a table of its own.

        Args:
            session: The session; ``None`` where there was none.
            lent: The copy and its version, as `draft` gave them.
            draft: What became of the copy; ``None`` where it was taken out.
        """
        if draft is None:
            if session is not None:
                self.take_out(session)
        elif (draft, draft.version) != lent:
            there, state = session or draft, next(self._states)
            moves = session is None or session.updated_at != draft.updated_at
            place = draft.updated_at, state if moves else there.activity
            self._unfinished = _Noted(there, there.take, draft, draft.version, *place, state, moves)
            self.finish()

    def finish(self) -> None:
        """Do all that is noted."""
        noted = self._unfinished
        if noted is None:
            return
        session = noted.session
        if noted.change is None:
            self._leave(session)
        else:
            noted.change(noted.what)
            session.version, session.activity = noted.version, noted.activity
            session.updated_at, session.state = noted.time, noted.state
            if noted.moves:
                self.note(noted.time)
                if noted.made:
                    session.created_at = noted.made
                self._enter(session)
        self._unfinished = None

    def settle(self, error: BaseException | None = None) -> None:
        """Finish what this call was interrupted in, before its caller goes on.

        Args:
            error: What has ended it; ``None`` where that was Ctrl-C.
        """
        if not isinstance(error, Exception):  # else it is held by whom the collector came upon
            release_if_held(self.lock)
        if self._unfinished is not None:
            with self.lock:
                self.finish()

    def _enter(self, session: S) -> None:
        """Put a session in, or move it where one belongs that was just written to."""
        self.sessions[session.id] = session

    def _leave(self, session: S) -> None:
        """Take a session out of all that it stands in."""
        self.sessions.pop(session.id, None)


def page_of(newest_first: Iterable[StoredSession], read: ListSessions) -> SessionPage:
    """Give a page of sessions; those that can't be read are left out.

    Args:
        newest_first: The sessions of that agent and user, the last one written to first.
        read: What else is asked for: when they were written to, how many, behind which cursor.

    Raises:
        InvalidSessionError: The cursor is not one that this gave.
    """
    below, limit = _read(read.cursor), read.limit
    since, until = read.since, read.until
    readable = (
        (info, place_of(session))
        for session in newest_first
        if (below is None or place_of(session) < below)
        and since <= session.updated_at
        and (until is None or session.updated_at < until)
        and (info := _readable(session, read.last))
    )
    page = list(islice(readable, limit + 1))
    more = "{}.{}".format(*page[limit - 1][1]) if len(page) > limit else None
    return SessionPage([info for info, _ in page[:limit]], more)


def place_of(session: StoredSession) -> tuple[int, int]:
    """Give where a session stands in lists: by its time, and of two with one time by its change."""
    return session.updated_at, session.activity


def _read(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    try:
        updated_at, activity = map(int, cursor.split("."))
    except ValueError:
        raise InvalidSessionError("cursor is not one that list_sessions gave") from None
    return updated_at, activity


def _readable(session: StoredSession, last: int) -> SessionInfo | None:
    try:
        return session.info(last)
    except CorruptMessageError as error:
        _logger.warning("session %r is left out of a list: %s", session.id, error)
        return None
