"""`Standby`: what a fallback knows of its primary's sessions, in memory and within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace

from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.fallback.writes import PendingWrite
from sessionstore.flow import Flow
from sessionstore.memory import InMemorySessionStore, StoredSession
from sessionstore.models import (
    SYSTEM_ROLES,
    SessionData,
    SessionInfo,
    SessionMessage,
    decode_message,
    encode_message,
    encode_metadata,
    to_microseconds,
)

__all__ = ["KnownSession", "Standby"]

_OLDER = 10  # times as many ids as messages are kept
_STEPS = 10


class KnownSession(StoredSession):
    """What is known of a session: its last messages, in one piece.

    Attributes:
        certain: Its owner, or lack of one, was told by the primary or by its maker.
        current: The primary said so when it was asked last, or has acknowledged it since.
        partial: There are messages before these, or may be.
        unseen: It was first written to in an outage: nothing is known of its past.
        made: It was made in an outage: the primary may turn out to hold another.
        sure: How many of the messages, from the first on, have nothing missing between them.
        older: The ids of messages that were cut off, so that none of them is taken for a new one.
        system: The session's first message, if that is a system message that was cut off.
        hidden: How many messages there are before these, as far as is known.
    """

    certain: bool = False
    current: bool = False
    partial: bool = False
    unseen: bool = False
    made: bool = False
    sure: int = 0
    older: dict[str, None] = msgspec.field(default_factory=dict)
    system: bytes = b""
    hidden: int = 0

    def head(self) -> dict[str, Any]:
        """Give the fields that `SessionData` and `SessionInfo` share."""
        return {**super().head(), "message_count": self.hidden + len(self.bodies)}


class Standby(InMemorySessionStore):
    """The last messages of the sessions last used: an in-memory store that a fallback fills.

    It answers as the primary would, as far as it knows. Where it can't know whose session one is,
    or what an older message says, it raises `StoreUnavailableError`.

    Args:
        max_sessions: How many sessions; the least recently used one leaves first.
        max_messages: How many of the last messages of each are kept; up to twice as many are.
    """

    _sessions: dict[str, KnownSession]  # type: ignore[assignment]

    def __init__(self, max_sessions: int, max_messages: int) -> None:
        super().__init__()
        self._max_sessions = max_sessions
        self._max_messages = max_messages
        self._used: OrderedDict[str, None] = OrderedDict()
        self._pinned: set[str] = set()
        self._rivals: dict[str, Standby] = {}

    # -- Learning from the primary's answers ------------------------------------------------------

    def stamp(self, session_id: str) -> int:
        """Tell one state of what is known of a session from all others."""
        session = self._sessions.get(session_id)
        return 0 if session is None else session.activity

    def learn_session(
        self, session_id: str, data: SessionData | None, stamp: int, *, whole: bool
    ) -> None:
        """Take note of a session that the primary has given, whole or with its last messages.

        Args:
            session_id: The session.
            data: What the primary gave.
            stamp: That of the session before the primary was asked: what was learned since may be
                newer.
            whole: Whether these are all of its messages.
        """
        with self._lock:
            session = self._sessions.get(session_id)
            if (
                session is not None
                and data is not None
                and self._is_known(session, data, whole=whole)
            ):
                self._used.move_to_end(session_id)
                return
            if session_id in self._pinned:
                return  # what it holds here is more than the primary has yet
            if self.stamp(session_id) != stamp:
                if session is not None:
                    session.current = False
            elif data is None:
                self._drop(session_id)
            else:
                self._learn_data(data, whole=whole)

    def learn_messages(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        system: SessionMessage | None,
        user_id: str | None,
        stamp: int,
        *,
        whole: bool,
    ) -> None:
        """Take note of a session's last messages, and of the system message before those.

        They tell of its owner only who may read, and nothing of its version.
        """
        with self._lock:
            session = self._sessions.get(session_id)
            if session_id in self._pinned or self.stamp(session_id) != stamp:
                return
            session = session or self._put(KnownSession(session_id, "default", user_id, b"{}"))
            if not _ends_with(session, messages):
                self._learn_messages(session, messages, whole=whole)
            if system is not None:
                session.system = encode_message(system)
            self._use(session)

    def learn_write(self, write: PendingWrite, result: Any) -> None:
        """Take note of another write that the primary has done, and of what it answered."""
        session_id = write.session_id
        if write.kind == "append":
            self._learn_append(write)
        elif isinstance(result, SessionData):
            with self._lock:
                if session_id not in self._pinned:
                    self._learn_data(result, whole=True)
        elif not (write.rewrites() and session_id in self._pinned):
            try:
                self.run(write.operation())
            except SessionStoreError:  # what was known is out of date, or nothing
                session = self._sessions.get(session_id)
                if session is not None:
                    session.current = False
            self._learn_result(write, result)

    def _learn_append(self, write: PendingWrite) -> None:
        session_id = write.session_id
        records = [(str(message.id), encode_message(message)) for message in write.messages or ()]
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                if session_id in self._pinned:
                    return  # it was deleted here meanwhile
                session = KnownSession(session_id, write.agent_id, write.user_id, b"{}")
            if session.older:
                records = [record for record in records if record[0] not in session.older]
            sure = session.current and session.sure == len(session.bodies)
            if session.add(records):
                self._written(session)
                session.sure = len(session.bodies) if sure else session.sure

    def _learn_result(self, write: PendingWrite, result: Any) -> None:
        with self._lock:
            session = self._sessions.get(write.session_id)
            if session is not None and isinstance(result, SessionInfo):
                if session.version != result.version and write.messages is None:
                    session.current = False
                self._learn_head(session, result)
                if write.messages is not None:
                    session.current, session.partial = True, False
                    session.sure = len(session.bodies)

    # -- What an outage needs ---------------------------------------------------------------------

    def view(self, session_id: str, user_id: str | None) -> Standby:
        """Give what a user may know of a session.

        Whose a session is that was first written to in an outage, only the primary can tell: until
        then each user has a session of their own of that name, so that nobody keeps its owner out,
        and nobody reads what another wrote.

        Args:
            session_id: The session.
            user_id: The caller; ``None`` sees what the first writer does.
        """
        session = self._sessions.get(session_id)
        first = session is None or user_id is None or session.user_id == user_id
        if first or session is None or not (session.unseen or session.made):
            return self
        with self._lock:
            rival = self._rivals.get(user_id or "")
            return rival or self._rivals.setdefault(
                user_id or "", Standby(self._max_sessions, self._max_messages)
            )

    def knows(self, session_id: str) -> bool:
        """Tell whether the session was seen."""
        return session_id in self._sessions

    def is_unseen(self, session_id: str) -> bool:
        """Tell whether the session is known only by what was written in an outage."""
        session = self._sessions.get(session_id)
        return session is not None and session.unseen

    def as_known(self, write: PendingWrite) -> PendingWrite:
        """Add to a write that takes messages away what its caller can know of."""
        with self._lock:
            session = self._sessions.get(write.session_id)
            if session is None:
                return write
            ids = list(session.positions)
            # Who replaces the end of a long session has not seen its beginning.
            blind = session.made or (session.partial and bool(write.messages))
            known = ids if blind else ids[-self._max_messages :]
            return replace(write, known=known, blind=blind)

    def pin(self, session_id: str) -> KnownSession | None:
        """Keep a session whatever the bounds, and give a copy of what is known of it."""
        with self._lock:
            self._pinned.add(session_id)
            session = self._sessions.get(session_id)
            return _copy(session) if session else None

    def unpin(self, session_id: str) -> None:
        """Let the bounds hold for a session again."""
        with self._lock:
            self._pinned.discard(session_id)
            session = self._sessions.get(session_id)
            if session is not None:
                session.current = False  # what is there now, the primary has put together
                session.unseen = session.made = False
                self._cut(session)
            self._keep_bounds()
        for user_id, rival in list(self._rivals.items()):
            if not rival.forget(session_id):
                self._rivals.pop(user_id, None)

    def pinned(self) -> list[str]:
        """Give the sessions that are kept whatever the bounds."""
        with self._lock:
            return list(self._pinned)

    def forget(self, session_id: str) -> bool:
        """Know nothing of a session any more; tell whether any is known."""
        with self._lock:
            self._drop(session_id)
            return bool(self._sessions)

    def restore(self, session: KnownSession) -> None:
        """Know of a session what was known of it in another life."""
        with self._lock:
            self._use(self._put(session))

    def lacks(self, write: PendingWrite) -> bool:
        """Tell whether a write names a message that may be there, but is not known."""
        session = self._sessions.get(write.session_id)
        if session is None or not (session.partial or session.sure < len(session.bodies)):
            return False
        named = {*write.message_ids, *(message.id for message in write.messages or ())}
        return not session.positions.keys() >= named

    def check(self, write: PendingWrite) -> Any:
        """Give what a write would give, or raise what it would raise, and do nothing."""
        if write.kind == "append":
            for message in write.messages or ():
                encode_message(message)
            with self._lock:
                session = self._find(write.session_id, write.user_id)
                held = _Held(session)
                return sum(message.id not in held for message in write.messages or ())
        trial = Standby(1, self._max_messages)
        with self._lock:
            session = self._sessions.get(write.session_id)
            if session is not None:
                trial._put(_copy(session))
        return trial.run(write.operation())

    def show(self, write: PendingWrite, *, unseen: bool) -> Any:
        """Do a write that the journal has taken in, for the readers to see.

        Args:
            write: The write.
            unseen: Nothing is known of the session that it makes.
        """
        sure = self._is_sure(write.session_id)
        result = self.run(write.operation())
        with self._lock:
            session = self._sessions.get(write.session_id)
            if session is not None:
                if unseen:  # its past reads as empty
                    session.unseen = write.kind == "append"
                    session.made = not session.unseen
                elif sure:
                    session.sure = len(session.bodies)
                if write.kind == "create" or (session.version == 1 and not unseen):
                    session.certain = True  # made anew, where it was deleted
                session.partial &= not write.rewrites() or bool(write.messages)
        return result

    # -- As the in-memory store, within what is known ---------------------------------------------

    @property
    def _kind(self) -> type[StoredSession]:
        return KnownSession

    def _append_messages(
        self, session_id: str, messages: Sequence[SessionMessage], **options: Any
    ) -> Flow[int]:
        session = self._sessions.get(session_id)
        older = session.older if session else ()
        new = [message for message in messages if message.id not in older]
        return super()._append_messages(session_id, new, **options)

    def _delete_messages(
        self, session_id: str, message_ids: Sequence[str], **options: Any
    ) -> Flow[list[str]]:
        deleted = yield from super()._delete_messages(session_id, message_ids, **options)
        with self._lock:
            session = self._sessions.get(session_id)
            if session is not None:
                session.sure = max(0, session.sure - len(deleted))
                for message_id in message_ids:
                    session.older.pop(message_id, None)
        return deleted

    def _get_messages(self, session_id: str, **options: Any) -> Flow[list[SessionMessage]]:
        with self._lock:
            session = self._find(session_id, options["user_id"])
            partial = session is not None and session.partial
            system = b""
            if session is not None and partial:
                self._refuse_older(session, options["before"], options["after"], options["limit"])
                system = session.system if options["keep_system"] else b""
        if partial:
            options["keep_system"] = False
        messages = yield from super()._get_messages(session_id, **options)
        return [decode_message(system), *messages] if system else messages

    def _find(self, session_id: str, user_id: str | None) -> KnownSession | None:
        session = self._sessions.get(session_id)
        if session is None:
            return None
        if user_id not in (None, session.user_id) and not session.certain:
            raise StoreUnavailableError(
                "whose session this is can't be told until the store is back"
            )
        super()._find(session_id, user_id)
        return session

    def _written(self, session: StoredSession) -> None:
        super()._written(session)
        self._use(self._sessions[session.id])

    def _forget(self, session: StoredSession) -> None:
        super()._forget(session)
        self._used.pop(session.id, None)

    def _is_sure(self, session_id: str) -> bool:
        session = self._sessions.get(session_id)
        return session is None or session.sure == len(session.bodies)

    # -- With the lock held -----------------------------------------------------------------------

    def _is_known(self, session: KnownSession, data: SessionData, *, whole: bool) -> bool:
        count = len(data.messages)
        return (
            session.current
            and session.version == data.version
            and (not (session.partial and whole) or count >= self._max_messages)
            and len(session.bodies) >= min(count, self._max_messages)
            and (not count or data.messages[-1].id == next(reversed(session.positions)))
        )

    def _learn_data(self, data: SessionData, *, whole: bool) -> None:
        session = self._sessions.get(data.id)
        if session is None:
            session = self._put(KnownSession(data.id, data.agent_id, data.user_id, b"{}"))
        if whole or data.messages:
            self._learn_messages(session, data.messages, whole=whole)
        else:
            session.current = False  # only its head was asked for
        self._learn_head(session, data)

    def _learn_messages(
        self, session: KnownSession, messages: Sequence[SessionMessage], *, whole: bool
    ) -> None:
        last = messages[-self._max_messages :]
        records = [(str(message.id), encode_message(message)) for message in last]
        ids = [message_id for message_id, _ in records]
        if not whole and ids == _last_ids(session, len(ids)):
            session.bodies[len(session.bodies) - len(ids) :] = [body for _, body in records]
            session.current = True
            return
        older = [] if whole else [*session.older, *session.positions]
        older += [str(message.id) for message in messages[: -self._max_messages]]
        front = [] if whole else self._front(session, ids[0])
        if whole:
            cut = len(last) < len(messages) and messages[0].role in SYSTEM_ROLES
            session.system = encode_message(messages[0]) if cut else b""
        session.clear()
        session.older = {}
        session.add([*front, *records])
        self._cut_off(session, older)
        session.sure = len(session.bodies)
        session.partial = len(last) < len(messages) if whole else session.partial or not front
        session.current, session.unseen, session.made = True, False, False

    def _front(self, session: KnownSession, first: str) -> list[tuple[str, bytes]]:
        place = session.place(first) if first in session.positions else session.sure + 1
        if place > session.sure:
            return []
        return list(zip(islice(session.positions, place), session.bodies, strict=False))

    def _cut_off(self, session: KnownSession, ids: list[str]) -> None:
        for message_id in ids[-_OLDER * self._max_messages :]:
            if message_id not in session.positions:
                session.older[message_id] = None
        surplus = len(session.older) - _OLDER * self._max_messages
        for message_id in list(islice(session.older, max(0, surplus))):
            del session.older[message_id]

    def _learn_head(self, session: KnownSession, head: SessionData | SessionInfo) -> None:
        if (session.user_id, session.agent_id) != (head.user_id, head.agent_id):
            self._leave_lists(session)
            session.user_id, session.agent_id = head.user_id, head.agent_id
            self._join_lists(session)
        session.metadata = encode_metadata(head.metadata)
        session.created_at = to_microseconds(head.created_at)
        session.updated_at = to_microseconds(head.updated_at)
        session.version = head.version
        session.hidden = max(0, head.message_count - len(session.bodies))
        session.certain = True
        self._use(session)

    def _put(self, session: KnownSession) -> KnownSession:
        version, updated_at = session.version, session.updated_at
        super()._written(session)
        session.version, session.updated_at = version, updated_at or session.updated_at
        return session

    def _use(self, session: KnownSession) -> None:
        self._used[session.id] = None
        self._used.move_to_end(session.id)
        if len(session.bodies) > 2 * self._max_messages:
            self._cut(session)
        if len(self._used) > self._max_sessions:
            self._keep_bounds()

    def _cut(self, session: KnownSession) -> None:
        cut = len(session.bodies) - self._max_messages
        if cut > self._max_messages and session.id not in self._pinned:
            ids = list(session.positions)
            if not session.partial and decode_message(session.bodies[0]).role in SYSTEM_ROLES:
                session.system = session.bodies[0]
            session.remove(ids[:cut])
            session.hidden += cut
            session.partial, session.sure = True, max(0, session.sure - cut)
            self._cut_off(session, ids[:cut])

    def _keep_bounds(self) -> None:
        for _ in range(_STEPS):  # bounded: those that are pinned are passed over little by little
            if len(self._used) - len(self._pinned) <= self._max_sessions:
                return
            session_id = next(iter(self._used))
            if session_id in self._pinned:
                self._used.move_to_end(session_id)
            else:
                self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        session = self._sessions.get(session_id)
        if session is not None:
            self._forget(session)

    def _refuse_older(
        self, session: KnownSession, before: str | None, after: str | None, limit: int | None
    ) -> None:
        reached = after is None
        if before is not None:
            place = session.place(before) if before in session.positions else 0
            reached = limit is not None and limit <= place
        if after is not None:
            reached = after in session.positions
        if not reached:
            raise StoreUnavailableError("older messages can't be read until the store is back")


class _Held:
    """The ids of a session's messages, those that were cut off included."""

    def __init__(self, session: KnownSession | None) -> None:
        self._held = (session.positions, session.older) if session else ()

    def __contains__(self, message_id: str | None) -> bool:
        return any(message_id in held for held in self._held)


def _ends_with(session: KnownSession, messages: Sequence[SessionMessage]) -> bool:
    ids = [message.id for message in messages]
    return (
        session.current
        and ids == _last_ids(session, len(ids))
        and (not ids or session.bodies[-1] == encode_message(messages[-1]))
    )


def _last_ids(session: KnownSession, count: int) -> list[str]:
    return list(islice(reversed(session.positions), count))[::-1]


def _copy(session: KnownSession) -> KnownSession:
    return replace(session, bodies=session.bodies.copy(), positions=session.positions.copy())
