"""`SessionCache`: what a fallback knows of its primary's sessions, in memory and within bounds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from sessionstore._in_memory.table import SessionTable
from sessionstore._runtime.clock import clock
from sessionstore.errors import StoreUnavailableError
from sessionstore.fallback.cached import READS, WRITES, Change, list_sessions
from sessionstore.fallback.entries import Records, Write, encoded_messages, writes_of
from sessionstore.fallback.known import KnownSession, Origin
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    ListSessions,
    Operation,
    Restore,
    Update,
)
from sessionstore.ownership import require_owner

__all__ = ["SessionCache"]

_STEPS = 10


class SessionCache(SessionTable[KnownSession]):
    """The last messages of the sessions last used, which a fallback learns from its primary.

    It answers as the primary would, as far as it knows. Where it can't know whose session one is,
    or what an older message says, it raises `StoreUnavailableError`.

    Args:
        max_sessions: How many sessions; the least recently used one leaves first.
        max_messages: How many of the last messages of each are kept; up to twice as many are.
    """

    def __init__(self, max_sessions: int, max_messages: int) -> None:
        super().__init__()
        self.max_sessions = max_sessions
        self.max_messages = max_messages
        self._used: OrderedDict[str, None] = OrderedDict()
        self._pinned: set[str] = set()
        self._of_users: dict[str, SessionCache] = {}

    # -- What is known ----------------------------------------------------------------------------

    def find(self, session_id: str, user_id: str | None) -> KnownSession | None:
        """Give what is known of a caller's session.

        Raises:
            StoreUnavailableError: It is not known whether it is theirs.
            SessionAccessError: It is not.
        """
        if self._unfinished is not None:
            self.look_up(session_id)
        session = self.sessions.get(session_id)
        if session is None or user_id is None:
            return session
        if session.user_id != user_id and not session.certain:
            raise StoreUnavailableError(
                "the owner of this session is not known until the store is back"
            )
        require_owner(session.user_id, user_id)
        return session

    def stamp(self, session_id: str) -> int:
        """Tell one state of what is known of a session from all others."""
        session = self.sessions.get(session_id)
        return 0 if session is None else session.state

    def knows(self, session_id: str) -> bool:
        """Tell whether the session was seen."""
        return session_id in self.sessions

    def known_to(self, write: Write) -> tuple[list[str], bool]:
        """Give the messages that the caller of a write can know of; and whether there are others.

        Args:
            write: An operation that takes messages away.

        Returns:
            Their ids; and whether those that are before them are not known.
        """
        with self.lock:
            session = self.look_up(str(write.about))
            if session is None:
                return [], False
            # Who replaces the end of a long session has not seen its beginning; nor is that known
            # of one that was only appended to.
            emptied = isinstance(write, Delete) or (
                isinstance(write, Update) and not write.messages
            )
            has_more = session.partial or not session.sure
            if session.origin is Origin.MADE or not (has_more and emptied):
                return list(session.positions), True
            return [*session.older, *session.positions][-self.max_messages :], False

    # -- Views ------------------------------------------------------------------------------------

    def view(self, session_id: str, user_id: str | None) -> SessionCache:
        """Give what a user may know of a session.

        Whose a session is that was first written to in an outage, only the primary can tell: until
        then each user has a session of their own of that name, so that nobody keeps its owner out,
        and nobody reads what another wrote.

        Args:
            session_id: The session.
            user_id: The caller; ``None`` sees what the first writer does.
        """
        session = self.sessions.get(session_id)
        if session is None or user_id is None or session.user_id == user_id:
            return self
        if session.origin is Origin.PRIMARY:
            return self
        with self.lock:
            view = self._of_users.get(user_id)
            return view or self._of_users.setdefault(
                user_id, SessionCache(self.max_sessions, self.max_messages)
            )

    @property
    def has_views(self) -> bool:
        """Whether users have sessions of their own."""
        return bool(self._of_users)

    # -- Operations -------------------------------------------------------------------------------

    def run(self, operation: Operation[Any]) -> Any:
        """Carry out an operation."""
        try:
            with self.lock:
                return self._run(operation)
        except BaseException as error:
            self.settle(error)
            raise

    def _run(self, operation: Any) -> Any:
        if isinstance(operation, ListSessions):
            return list_sessions(self.sessions.values(), operation)
        if type(operation) in READS:
            session = self.find(operation.session_id, operation.user_id)
            return READS[type(operation)](session, operation)
        return self._write(operation, encoded_messages(operation))

    def check(self, write: Write, records: Records) -> bool:
        """Raise what a write would raise, and do nothing.

        Args:
            write: The operation.
            records: Its messages.

        Returns:
            Whether it would change what is known.
        """
        with self.lock:
            session = self.find(str(write.session_id), write.user_id)
            return WRITES[type(write)](session, write, records).session is not None

    def show(self, write: Write, records: Records, *, unseen: bool) -> Any:
        """Do a write that is journaled, for the readers to see.

        Args:
            write: The operation.
            records: Its messages.
            unseen: Nothing is known of the session that it makes.

        Returns:
            The operation's result.
        """
        session_id = str(write.session_id)
        try:
            with self.lock:
                before = self.sessions.get(session_id)
                sure = before is None or before.is_sure
                result = self._write(write, records)
                session = self.sessions.get(session_id)
                if session is not None:
                    _note_journaled(session, writes_of(write)[0], unseen=unseen, sure=sure)
                return result
        except BaseException as error:
            self.settle(error)
            raise

    def _write(self, write: Write, records: Records) -> Any:
        session = self.find(str(write.session_id), write.user_id)
        change: Change = WRITES[type(write)](session, write, records)
        if change.session is not None:
            if change.change is None:
                self.drop(change.session.id)
            else:
                self.change(
                    change.session,
                    change.change,
                    change.what,
                    change.versions,
                    moves=change.moves,
                    at=change.at,
                )
                result = change.result()
                self.use(change.session.id)
                return result
        return change.result()

    # -- Changes, with the lock held --------------------------------------------------------------

    def put(self, session: KnownSession) -> None:
        """Know of a session what is given, with its version and times."""
        self.finish()
        session.activity = session.state = next(self._states)
        self.note(session.updated_at)
        self.sessions[session.id] = session

    def swap(self, session: KnownSession) -> None:
        """Know of a session something else than before, without a write."""
        self.note(session.updated_at)
        self.sessions[session.id] = session
        self.use(session.id)

    def drop(self, session_id: str) -> None:
        """Know nothing of a session any more."""
        session = self.look_up(session_id)
        if session is not None:
            self.take_out(session)

    def _leave(self, session: KnownSession) -> None:
        super()._leave(session)
        self._used.pop(session.id, None)

    # -- Bounds -----------------------------------------------------------------------------------

    def pin(self, session_id: str) -> KnownSession | None:
        """Keep a session whatever the bounds, and give a copy of what is known of it."""
        with self.lock:
            self._pinned.add(session_id)
            session = self.look_up(session_id)
            return session.copy() if session else None

    def unpin(self, session_id: str) -> None:
        """Let the bounds hold for a session again."""
        with self.lock:
            self._pinned.discard(session_id)
            session = self.look_up(session_id)
            if session is not None:
                session.current = False  # what is there now, the primary has put together
                session.origin = Origin.PRIMARY
                self._cut(session)
            self._keep_bounds()
        for user_id, view in dict(self._of_users).items():
            if not view.forget(session_id):
                self._of_users.pop(user_id, None)

    def pinned(self) -> list[str]:
        """Give the sessions that are kept whatever the bounds."""
        with self.lock:
            return list(self._pinned)

    def is_pinned(self, session_id: str) -> bool:
        """Tell whether a session is kept whatever the bounds."""
        return session_id in self._pinned

    def forget(self, session_id: str) -> bool:
        """Know nothing of a session any more; tell whether any is known."""
        with self.lock:
            self.drop(session_id)
            return bool(self.sessions)

    def forget_user(self, user_id: str) -> int:
        """Know nothing of a user's sessions any more, but for those that are pinned.

        Returns:
            Of how many sessions something was known.
        """
        forgotten = 0
        with self.lock:
            for session in list(self.sessions.values()):
                if session.user_id == user_id and session.id not in self._pinned:
                    self.drop(session.id)
                    forgotten += 1
        return forgotten

    def restore(self, session: KnownSession) -> None:
        """Know of a session what another process knew of it."""
        with self.lock:
            if not session.updated_at:
                session.updated_at = clock.stamp(self.newest)
            self.put(session)
            self.use(session.id)

    def use(self, session_id: str) -> None:
        """Take note that a session is used, with the lock held."""
        self._used[session_id] = None
        self._used.move_to_end(session_id)
        session = self.sessions.get(session_id)
        if session is not None and len(session.bodies) > 2 * self.max_messages:
            self._cut(session)
        if len(self._used) > self.max_sessions:
            self._keep_bounds()

    def _cut(self, session: KnownSession) -> None:
        if len(session.bodies) > 2 * self.max_messages and session.id not in self._pinned:
            self.sessions[session.id] = session.cut_to(self.max_messages)

    def _keep_bounds(self) -> None:
        for _ in range(_STEPS):  # bounded: those that are pinned are passed over little by little
            if len(self._used) - len(self._pinned) <= self.max_sessions:
                return
            session_id = next(iter(self._used))
            if session_id in self._pinned:
                self._used.move_to_end(session_id)
            else:
                self.drop(session_id)


def _note_journaled(session: KnownSession, write: Write, *, unseen: bool, sure: bool) -> None:
    if unseen:  # its past reads as empty
        session.origin = Origin.APPENDED if isinstance(write, Append) else Origin.MADE
    elif sure:
        session.sure = len(session.bodies)
    if isinstance(write, (Create, Restore)) or (session.version == 1 and not unseen):
        session.certain = True  # it was made again, after it was deleted
