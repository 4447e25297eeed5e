"""`Journal`: the writes that a fallback has taken in, kept in the fallback store."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from threading import Lock
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.flow import Flow
from sessionstore.memory import StoredSession
from sessionstore.models import SessionMessage, new_id
from sessionstore.owners import leave, name_for
from sessionstore.store import SessionStore
from sessionstore.writes import PendingWrite, decode_write, encode_write, first_batch

__all__ = ["BASE", "DONE", "JOURNALS", "REJECTED", "VOID", "WRITE", "Journal", "Line"]

T = TypeVar("T")
_logger = logging.getLogger("sessionstore")

# A journal is a session of the fallback store. Its owner (as the session's user) is the object
# that takes writes in, and its messages are these: what was known of the session before, a write,
# writes that the primary has or refused, and a write that was not taken in after all.
JOURNALS = "sessionstore:journal"
REJECTED = "sessionstore:rejected"
BASE, WRITE, DONE, VOID = "base", "write", "done", "void"

# What one request puts back at most, so that it is done within the primary's timeout.
_BATCH = 500
_BATCH_BYTES = 1_000_000


class Line(msgspec.Struct, eq=False):
    """The pending writes of one session, in the order in which the session shows them.

    Attributes:
        session_id: The session.
        base: What was known of the session before them, until the journal has it.
        journals: The ids of the journals that hold them; the last one takes in the next.
        writes: The writes, as JSON.
        voids: The ids of writes that may be in the journal, though their callers were told that
            they failed.
        arriving: How many are on their way into the journal.
        replaying: Somebody puts them back just now.
        complained: It was logged that they can't be put back.
        taken: One was taken in.
    """

    session_id: str
    base: StoredSession | None
    journals: list[str]
    writes: deque[bytes]
    voids: list[str] = []
    arriving: int = 0
    replaying: bool = False
    complained: bool = False
    taken: bool = False


class Journal:
    """The pending writes of every session: in memory to be read, in the fallback store to last.

    A request of its flows is a store and one of that store's flows. No lock is held across one,
    and each may be the last: whoever is cancelled there leaves all as it is to be.

    Args:
        store: The fallback store.
        max_pending: How many writes it takes in.
    """

    def __init__(self, store: SessionStore, max_pending: int) -> None:
        self._store = store
        self._max_pending = max_pending
        self._lock = Lock()
        self._lines: dict[str, Line] = {}
        # The sessions whose writes nobody puts back just now; who waits longest comes first.
        self._waiting: dict[str, None] = {}
        self._size = 0
        self._rejected: dict[str, PendingWrite] = {}
        # Journals that nobody needs any more, until they are deleted.
        self._litter: dict[str, None] = {}
        self._tired = False  # the last one could not be deleted
        self.owner: str = name_for(self)
        self.journaled: int = 0
        self.replayed: int = 0
        self.refused: int = 0

    def pending(self) -> list[PendingWrite]:
        """Give the writes that the primary does not have yet, session by session."""
        with self._lock:
            return [decode_write(raw) for line in self._lines.values() for raw in line.writes]

    def rejected(self) -> list[PendingWrite]:
        """Give the writes that the primary refused."""
        with self._lock:
            return list(self._rejected.values())

    @property
    def size(self) -> int:
        """How many writes wait, or are on their way in."""
        return self._size

    @property
    def has_work(self) -> bool:
        """Whether something waits that nobody sees to just now."""
        return bool(self._waiting or (self._litter and not self._tired))

    def holds(self, session_id: str) -> bool:
        """Tell whether a session has a line: something of it is to be seen to first."""
        return session_id in self._lines

    def has_taken(self, session_id: str) -> bool:
        """Tell whether writes of a session were taken in that are not all put back."""
        line = self._lines.get(session_id)
        return line is not None and line.taken

    def waiting(self) -> list[str]:
        """Give the sessions whose writes nobody puts back just now."""
        with self._lock:
            return list(self._waiting)

    def next_waiting(self) -> str | None:
        """Give the session that has waited longest."""
        with self._lock:
            return next(iter(self._waiting), None)

    def leave(self) -> None:
        """Look after nothing any more: whoever opens the fallback store next takes over."""
        leave(self.owner)

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
            show: Makes the session's readers see the write. What it raises is raised, and the
                write is not taken in.

        Returns:
            What ``show`` gave.

        Raises:
            StoreUnavailableError: The journal is full, or the fallback store fails.
        """
        write_id = new_id()
        body = encode_write(replace(write, id=write_id))
        line = self._expect(write.session_id, base)
        taken = False
        try:
            voids = line.voids.copy()
            yield from self._add(line, [_entry(WRITE, body, write_id)], voids)
            try:
                with self._lock:
                    result = show()
                    taken = True
                    self.journaled += 1
                    line.base, line.taken = None, True
                    line.voids = [void for void in line.voids if void not in voids]
                    line.writes.append(body)
            except SessionStoreError:
                with suppress(StoreUnavailableError):
                    yield from self._add(line, [], [write_id])
                raise
            return result
        finally:
            with self._lock:
                line.arriving -= 1
                if not taken:
                    line.voids.append(write_id)
                    self._size -= 1
                self._settle(line)

    def _expect(self, session_id: str, base: Callable[[], StoredSession | None]) -> Line:
        with self._lock:
            if self._size >= self._max_pending:
                msg = f"{self._max_pending} writes wait for the store already: no more are taken in"
                raise StoreUnavailableError(msg)
            line = self._lines.get(session_id)
            if line is None:
                line = self._lines[session_id] = Line(session_id, base(), [new_id()], deque())
            line.arriving += 1
            self._size += 1
            return line

    def _add(self, line: Line, entries: list[SessionMessage], voids: list[str]) -> Flow[None]:
        if line.base:
            entries.insert(0, _entry(BASE, msgspec.json.encode(line.base), BASE))
        if voids:
            entries.append(_entry(VOID, msgspec.json.encode(voids), new_id()))
        try:
            yield self._append(line.journals[-1], entries, JOURNALS, self.owner)
        except StoreUnavailableError:
            raise
        except SessionStoreError as error:
            raise StoreUnavailableError("the store is away, and its fallback fails") from error

    # -- Giving out -----------------------------------------------------------------------------

    def claim(self, session_id: str) -> Line | None:
        """Give a session's line to the one caller who is to put it back; ``None`` to others."""
        with self._lock:
            line = self._lines.get(session_id)
            if line is None or line.replaying:
                return None
            line.replaying = True
            self._settle(line)
            return line

    def next_batch(self, line: Line) -> list[PendingWrite]:
        """Give the first write of a line, or the appends that can go in one batch with it."""
        with self._lock:
            return first_batch(_first_ones(line))

    def put_back(self, line: Line, batch: list[PendingWrite]) -> Flow[None]:
        """Take the first writes out of a line: the primary has them, or refused them."""
        with self._lock:
            for _ in batch:
                line.writes.popleft()
            self._size -= len(batch)
            more = bool(line.writes)
        if more:  # else the journal is deleted at once
            done = msgspec.json.encode([write.id for write in batch])
            try:
                yield self._append(
                    line.journals[-1], [_entry(DONE, done, new_id())], JOURNALS, self.owner
                )
            except SessionStoreError as error:
                _logger.warning("a journal could not be kept up to date: %s", _kind(error))

    def reject(self, write: PendingWrite) -> Flow[None]:
        """Set a write aside that the primary refused, and keep it there."""
        try:
            yield self._append(
                REJECTED, [_entry(WRITE, encode_write(write), write.id)], REJECTED, None
            )
        except StoreUnavailableError as error:
            raise SessionStoreError("a refused write can't be set aside: it waits on") from error
        with self._lock:
            self.refused += 1
            self._rejected[write.id] = write

    def restore_rejected(self, writes: list[PendingWrite]) -> None:
        """Offer the writes that were refused in another life."""
        with self._lock:
            self._rejected = {write.id: write for write in writes} | self._rejected

    def release(self, line: Line) -> bool:
        """End a claim; give up the line, with its journals, where nothing is left in it.

        Returns:
            Whether nothing is left.
        """
        with self._lock:
            line.replaying = self._tired = False
            if not (line.writes or line.arriving):
                line.voids.clear()  # they go with their journal
            return self._settle(line)

    def sweep(self) -> Flow[None]:
        """Delete the journals that nobody needs any more."""
        while self._litter:
            with self._lock:
                journal = next(iter(self._litter), None)
                if journal is None:
                    return
                del self._litter[journal]
            try:
                yield self._store, self._store._delete(journal, user_id=None)
            except BaseException as error:
                with self._lock:
                    self._litter[journal] = None
                    self._tired = True
                if not isinstance(error, SessionStoreError):
                    raise
                _logger.warning("a journal could not be deleted: %s", _kind(error))
                return  # to put it back once more does no harm

    # -- After a crash: see adoption.py -----------------------------------------------------------

    def looks_after(self, journal: str) -> bool:
        """Tell whether a journal is one of those of the lines here."""
        with self._lock:
            lines = self._lines.values()
            return journal in self._litter or any(journal in line.journals for line in lines)

    def adopt(self, session_id: str, journals: list[str], writes: list[PendingWrite]) -> None:
        """Take writes in that somebody else's journals hold, behind the session's own."""
        with self._lock:
            if not writes:
                self._litter.update(dict.fromkeys(journals))
                return
            line = self._lines.get(session_id)
            if line is None:
                line = self._lines[session_id] = Line(session_id, None, [new_id()], deque())
            line.taken = True
            line.journals[:0] = journals
            line.writes.extend(map(encode_write, writes))
            self._size += len(writes)
            self._settle(line)

    # -- With the lock held -----------------------------------------------------------------------

    def _settle(self, line: Line) -> bool:
        """See to it that the line stands where it should; tell whether it is given up."""
        if self._lines.get(line.session_id) is not line:
            return True
        something = bool(line.writes or line.voids)
        if something and not line.replaying:
            self._waiting.setdefault(line.session_id)
        else:
            self._waiting.pop(line.session_id, None)
        if something or line.arriving or line.replaying:
            return False
        del self._lines[line.session_id]
        self._litter.update(dict.fromkeys(line.journals))
        return True

    def _append(
        self, session_id: str, entries: list[SessionMessage], agent_id: str, user_id: str | None
    ) -> tuple[SessionStore, Flow[int]]:
        flow = self._store._append_messages(
            session_id, entries, agent_id=agent_id, user_id=user_id, expected_version=None
        )
        return self._store, flow


def _first_ones(line: Line) -> Iterator[PendingWrite]:
    left = _BATCH_BYTES
    for place, raw in enumerate(islice(line.writes, _BATCH)):
        left -= len(raw)
        if place and left < 0:
            return
        yield decode_write(raw)


def _entry(kind: str, body: bytes, entry_id: str) -> SessionMessage:
    return SessionMessage(kind, body.decode(), id=entry_id)


def _kind(error: SessionStoreError) -> str:
    return type(error).__name__
