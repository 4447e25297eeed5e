"""`Journal`: the writes that a fallback has taken in, kept in the fallback store."""

from __future__ import annotations

import logging
import os
import socket
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import islice
from threading import Lock
from typing import TypeVar

import msgspec

from sessionstore.errors import (
    SessionConflictError,
    SessionNotFoundError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.flow import Flow
from sessionstore.memory import StoredSession
from sessionstore.models import SessionInfo, SessionMessage, new_id
from sessionstore.store import SessionStore
from sessionstore.writes import PendingWrite, first_batch

__all__ = ["Journal", "Line"]

T = TypeVar("T")
_logger = logging.getLogger("sessionstore")

# A journal is a session of the fallback store, each of its writes a message, its owner (as the
# session's user) the process and object that takes writes in.
_JOURNALS = "sessionstore:journal"
_REJECTED = "sessionstore:rejected"
_BASE, _WRITE = "base", "write"
_ADOPTED_BY = "adopted_by"
_ABANDONED = timedelta(seconds=60)
_PAGE = 100
_BATCH = 1000

_write_decoder = msgspec.json.Decoder(PendingWrite)
_base_decoder = msgspec.json.Decoder(StoredSession)
_owners_here: set[str] = set()


class Line(msgspec.Struct, eq=False):
    """The pending writes of one session, in the order in which the session shows them.

    Attributes:
        session_id: The session.
        base: What was known of the session before them, until the journal has it.
        owner: Who looks after the journal that takes in the next ones.
        journals: The ids of the journals that hold them; the last one takes in the next.
        writes: The writes.
        arriving: How many are on their way into the journal.
        replaying: Somebody puts them back just now.
        lasting: Its journals are to be kept: one of its writes has no other place.
    """

    session_id: str
    owner: str
    base: StoredSession | None = None
    journals: list[str] = []
    writes: list[PendingWrite] = []
    arriving: int = 0
    replaying: bool = False
    lasting: bool = False


class Journal:
    """The pending writes of every session: in memory to be read, in the fallback store to last.

    A request of its flows is a store and one of that store's flows.

    Args:
        store: The fallback store.
        max_pending: How many writes it takes in.
    """

    def __init__(self, store: SessionStore, max_pending: int) -> None:
        self._store = store
        self._max_pending = max_pending
        self._lock = Lock()
        self._lines: dict[str, Line] = {}
        self._size = 0
        self._rejected: list[PendingWrite] = []
        self._owner = ""

    def pending(self) -> list[PendingWrite]:
        """Give the writes that the primary does not have yet, session by session."""
        with self._lock:
            return [write for line in self._lines.values() for write in line.writes]

    def rejected(self) -> list[PendingWrite]:
        """Give the writes that the primary refused."""
        with self._lock:
            return self._rejected.copy()

    def holds(self, session_id: str) -> bool:
        """Tell whether a session has writes that wait."""
        return session_id in self._lines

    def waiting(self) -> list[str]:
        """Give the sessions whose writes nobody puts back just now."""
        with self._lock:
            return [line.session_id for line in self._lines.values() if not line.replaying]

    # -- Taking in ------------------------------------------------------------------------------

    def take_in(
        self,
        write: PendingWrite,
        base: Callable[[], StoredSession | None],
        show: Callable[[], T],
    ) -> Flow[T]:
        """Keep a write: from then on it is in its session's line.

        Args:
            write: The write.
            base: Gives what is known of the session, if this is the first write of its line.
            show: Makes the session's readers see the write.

        Returns:
            What ``show`` gave.

        Raises:
            StoreUnavailableError: The journal is full, or the fallback store fails.
        """
        body = msgspec.json.encode(write)
        kept = _write_decoder.decode(body)  # no later change to a caller's object reaches it
        line = self._expect(write.session_id, base)
        entries = [_entry(_WRITE, body, write.id)]
        if line.base:
            entries.insert(0, _entry(_BASE, msgspec.json.encode(line.base), _BASE))
        try:
            yield (
                self._store,
                self._store._append_messages(
                    line.journals[-1],
                    entries,
                    agent_id=_JOURNALS,
                    user_id=self._name(),
                    expected_version=None,
                ),
            )
            with self._lock:
                line.base = None
                line.writes.append(kept)
                return show()
        except BaseException:
            with self._lock:
                self._size -= 1
            raise
        finally:
            with self._lock:
                line.arriving -= 1
                self._drop_if_empty(line)

    def _expect(self, session_id: str, base: Callable[[], StoredSession | None]) -> Line:
        with self._lock:
            if self._size >= self._max_pending:
                msg = f"{self._max_pending} writes wait for the store already: no more are taken in"
                raise StoreUnavailableError(msg)
            line = self._lines.get(session_id)
            if line is None:
                line = self._lines[session_id] = Line(session_id, self._name(), base(), [new_id()])
            line.arriving += 1
            self._size += 1
            return line

    # -- Giving out -----------------------------------------------------------------------------

    def claim(self, session_id: str) -> Line | None:
        """Give a session's line to the one caller who is to put it back; ``None`` to others."""
        with self._lock:
            line = self._lines.get(session_id)
            if line is None or line.replaying:
                return None
            line.replaying = True
            return line

    def next_batch(self, line: Line) -> list[PendingWrite]:
        """Give the first write of a line, or the appends that can go in one batch with it."""
        with self._lock:
            return first_batch(islice(line.writes, _BATCH))

    def put_back(self, line: Line, count: int) -> None:
        """Take the first ``count`` writes out of a line: the primary has them, or refused them."""
        with self._lock:
            del line.writes[:count]
            self._size -= count

    def reject(self, line: Line, write: PendingWrite) -> Flow[None]:
        """Set a write aside that the primary refused, and keep it there."""
        with self._lock:
            self._rejected.append(write)
        try:
            yield (
                self._store,
                self._store._append_messages(
                    _REJECTED,
                    [_entry(_WRITE, msgspec.json.encode(write), write.id)],
                    agent_id=_REJECTED,
                    user_id=None,
                    expected_version=None,
                ),
            )
        except SessionStoreError as error:
            line.lasting = True
            _logger.error("a write that the store refused is kept in its journal only: %r", error)

    def unclaim(self, line: Line) -> None:
        """End a claim in the middle: what is left in the line waits on."""
        with self._lock:
            line.replaying = False

    def release(self, line: Line) -> Flow[bool]:
        """End a claim; give up the line, with its journals, where nothing is left in it.

        Returns:
            Whether nothing is left.
        """
        with self._lock:
            line.replaying = False
            empty = self._drop_if_empty(line)
        if empty and not line.lasting:
            try:
                for journal in line.journals:
                    yield self._store, self._store._delete(journal, user_id=None)
            except SessionStoreError as error:  # to put it back once more does no harm
                _logger.warning(
                    "a journal that is no longer needed could not be deleted: %r", error
                )
        return empty

    # -- After a crash ----------------------------------------------------------------------------

    def open(
        self, show: Callable[[str, StoredSession | None, list[PendingWrite]], None]
    ) -> Flow[None]:
        """Take over the journals that nobody looks after any more.

        Args:
            show: Makes a session's readers see what was known of it, and its writes.
        """
        cursor = None
        while True:
            page = yield (
                self._store,
                self._store._list_sessions(
                    agent_id=_JOURNALS, user_id=None, limit=_PAGE, cursor=cursor
                ),
            )
            for info in page.sessions:
                if not _is_looked_after(info):
                    yield from self._adopt(info, show)
            cursor = page.cursor
            if cursor is None:
                break
        refused = yield (
            self._store,
            self._store._get_messages(
                _REJECTED,
                limit=None,
                before=None,
                after=None,
                user_id=None,
                keep_system=False,
            ),
        )
        with self._lock:
            self._rejected = [_write_decoder.decode(str(entry.content)) for entry in refused]

    def _adopt(
        self,
        info: SessionInfo,
        show: Callable[[str, StoredSession | None, list[PendingWrite]], None],
    ) -> Flow[None]:
        try:
            yield (
                self._store,
                self._store._update(
                    info.id,
                    messages=None,
                    metadata={_ADOPTED_BY: self._name()},
                    user_id=None,
                    expected_version=info.version,
                ),
            )
        except (SessionConflictError, SessionNotFoundError):
            return  # another process was first
        journal = yield self._store, self._store._get(info.id, limit=None, user_id=None)
        entries = [(entry.role, str(entry.content)) for entry in journal.messages]
        writes = [_write_decoder.decode(text) for kind, text in entries if kind == _WRITE]
        bases = [_base_decoder.decode(text) for kind, text in entries if kind == _BASE]
        if not writes:
            yield self._store, self._store._delete(info.id, user_id=None)
            return
        session_id = writes[0].session_id
        with self._lock:
            line = self._lines.setdefault(
                session_id, Line(session_id, self._name(), None, [new_id()])
            )
            line.journals.insert(0, info.id)
            line.writes[:0] = writes
            self._size += len(writes)
        show(session_id, bases[0] if bases else None, writes)

    def leave(self) -> None:
        """Look after nothing any more: whoever opens the fallback store next takes over."""
        _owners_here.discard(self._owner)

    # -- Parts ----------------------------------------------------------------------------------

    def _drop_if_empty(self, line: Line) -> bool:
        empty = not (line.writes or line.arriving or line.replaying)
        if empty and self._lines.get(line.session_id) is line:
            del self._lines[line.session_id]
        return empty

    def _name(self) -> str:
        if self._owner.split("|")[1:2] != [str(os.getpid())]:  # not named yet, or a fork since
            self._owner = f"{socket.gethostname()}|{os.getpid()}|{new_id()}"
            _owners_here.add(self._owner)
            weakref.finalize(self, _owners_here.discard, self._owner)
        return self._owner


def _entry(kind: str, body: bytes, entry_id: str) -> SessionMessage:
    return SessionMessage(kind, body.decode(), id=entry_id)


def _is_looked_after(journal: SessionInfo) -> bool:
    owner = journal.metadata.get(_ADOPTED_BY) or journal.user_id or ""
    host, _, rest = owner.partition("|")
    pid = rest.partition("|")[0]
    if host != socket.gethostname():  # a container that shares the file, perhaps
        return datetime.now(timezone.utc) - journal.updated_at < _ABANDONED
    if pid == str(os.getpid()):
        return owner in _owners_here
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
