"""`Journal`: the writes that a fallback has taken in, kept in the fallback store."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from threading import Lock
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from sessionstore._runtime.tickets import Ticket, is_within, ticket
from sessionstore.errors import (
    OutageError,
    SessionConflictError,
    SessionNotFoundError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.fallback.line import Arrival, Line
from sessionstore.fallback.owners import leave, name_for
from sessionstore.fallback.writes import (
    PendingWrite,
    decode_write,
    encode_write,
    first_batch,
    kind_of,
)
from sessionstore.flow import Flow
from sessionstore.memory import StoredSession
from sessionstore.models import SessionData, SessionInfo, SessionMessage, new_id
from sessionstore.operations import Append, Delete, Get, GetMessages, Update
from sessionstore.store import SessionStore

__all__ = [
    "ADOPTED_BY",
    "ADOPTING",
    "BASE",
    "DONE",
    "JOURNALS",
    "REJECTED",
    "VOID",
    "WRITE",
    "Journal",
    "keeper",
]

T = TypeVar("T")
_logger = logging.getLogger("sessionstore")

# A journal is a session of the fallback store. Its owner (as the session's user) is the object
# that takes writes in, and its messages are these: what was known of the session before, a write,
# writes that the primary has or refused, and a write that was not taken in after all.
JOURNALS = "sessionstore:journal"
REJECTED = "sessionstore:rejected"
ADOPTING = "sessionstore:adopting"  # whose owner alone takes over what others have left
BASE, WRITE, DONE, VOID = "base", "write", "done", "void"

ADOPTED_BY = "adopted_by"

# In seconds. So long after its last entry nobody can have taken a journal over: see owners.py.
_LEASE = 30.0
# So long what failed on its way into a journal may still get there.
_LATE = 60.0
# So long after the fallback store has failed it is left alone with what can wait.
_REST = 1.0

# So many failures to write into a journal are kept in mind before it must take word of them.
_MOST_VOIDS = 1_000

# What one request puts back at most, so that it is done within the primary's timeout.
_BATCH_BYTES = 1_000_000


class Journal:
    """The pending writes of every session: in memory to be read, in the fallback store to last.

    A request of its flows is a store and one of that store's flows. No lock is held across one,
    and each may be the last: whoever is cancelled there leaves all as it is to be.

    Args:
        store: The fallback store.
        max_pending: How many writes it takes in.
        ended: Is called for a session, with the lock held, when nothing of it is in here any more.
    """

    def __init__(self, store: SessionStore, max_pending: int, ended: Callable[[str], None]) -> None:
        self._store = store
        self._ended = ended
        self._max_pending = max_pending
        self._lock = Lock()
        self._left = False
        self._lines: dict[str, Line] = {}
        # The sessions whose writes nobody puts back just now; who waits longest comes first.
        self._waiting: dict[str, None] = {}
        self._size = 0
        self._rejected: dict[str, PendingWrite] = {}
        # Journals that nobody needs any more, until they are deleted.
        self._litter: dict[str, None] = {}
        # Those that what failed may still get into: until when, and what that is, until it is
        # written there that it counts for nothing.
        self._graves: dict[str, tuple[float, list[str]]] = {}
        # Journals that hold what can't be read, so that they stay: each with the ids of the writes
        # in it that are over, until it is written there.
        self._damaged: dict[str, list[str]] = {}
        self._sweeper: Ticket | None = None
        self._rests_until = 0.0  # the last one could not be deleted
        self.owner: str = name_for(self)
        self.journaled: int = 0
        self.replayed: int = 0
        self.refused: int = 0

    def pending(self) -> list[PendingWrite]:
        """Give the writes that the primary does not have yet, session by session."""
        return [decode_write(raw) for _, raws in self._waiting_ones() for raw in raws]

    def kinds(self) -> dict[str, Counter[str]]:
        """Count those writes by session and by what they do, without reading what they say."""
        return {session: Counter(map(kind_of, raws)) for session, raws in self._waiting_ones()}

    def _waiting_ones(self) -> list[tuple[str, list[bytes]]]:
        with self._lock:  # to copy only: who writes would wait while they are read
            lines = self._lines.values()
            return [(line.session_id, [*line.writes]) for line in lines if line.writes]

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
        litter = self._sweeper is None and (self._litter or (self._graves and self._has_ripe()))
        return bool(self._waiting or (litter and time.monotonic() >= self._rests_until))

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

    def next_waiting(self, passes: Callable[[str], bool] | None = None) -> str | None:
        """Give the session that has waited longest.

        Args:
            passes: Tells the sessions to pass over.
        """
        with self._lock:
            waiting = self._waiting
            if passes is None:
                return next(iter(waiting), None)
            return next((session_id for session_id in waiting if not passes(session_id)), None)

    def leave(self) -> None:
        """Look after nothing any more: whoever opens the fallback store next takes over."""
        with self._lock:
            self._left = True  # what came in now would be put back by nobody here
        leave(self.owner)

    # -- Taking in ------------------------------------------------------------------------------

    def take_in(
        self,
        write: PendingWrite,
        base: Callable[[], StoredSession | None],
        show: Callable[[], T],
        stamp: Callable[[], int],
    ) -> Flow[T]:
        """Keep a write: from then on it is in its session's line.

        Args:
            write: The write.
            base: Gives what is known of the session, if this is the first write of its line.
            show: Makes the session's readers see the write. What it raises is raised, and the
                write is not taken in.
            stamp: Tells one state of what they see from all others.

        Returns:
            What ``show`` gave.

        Raises:
            StoreUnavailableError: The journal is full, or the fallback store fails.
        """
        body = encode_write(replace(write, id=(write_id := new_id())))
        arrival = Arrival(write_id, body, show, stamp, ticket())
        line = self._expect(write.session_id, base, arrival)
        try:
            if (yield from self.keep(line)):
                if len(line.voids) >= _MOST_VOIDS:  # the store fails: does it still?
                    yield from self._add(line, [])
                yield from self._enter(line, arrival)
            if arrival.error is not None and line.voids:
                with suppress(SessionStoreError):
                    yield from self._add(line, [])
        except StoreUnavailableError:
            if not arrival.over:  # else another has seen that it is there
                raise
        except SessionStoreError as error:
            if not arrival.over:
                raise StoreUnavailableError("the fallback store fails: see the cause") from error
        finally:
            with self._lock:
                self._arrived(line, arrival)
        if not arrival.over:  # another process has taken the line over: begin a new one
            return (yield from self.take_in(write, base, show, stamp))
        if arrival.error is not None:
            raise arrival.error
        result: T = arrival.result
        return result

    def _expect(
        self, session_id: str, base: Callable[[], StoredSession | None], arrival: Arrival
    ) -> Line:
        with self._lock:
            if self._left:
                raise SessionStoreError("this store is closed")
            if self._size >= self._max_pending:
                msg = f"{self._max_pending} writes wait for the store already: no more are taken in"
                raise StoreUnavailableError(msg)
            line = self._lines.get(session_id)
            if line is None:
                line = self._lines[session_id] = Line(session_id, base(), [new_id()])
            line.arrivals[arrival.id] = arrival
            self._size += 1
            return line

    def _enter(self, line: Line, arrival: Arrival) -> Flow[None]:
        """Write it into the journal, and show all that is there up to it, in that order."""
        entries = [_entry(WRITE, arrival.body, arrival.id)]
        while not arrival.over:
            arrival.sent = True
            yield from self._add(line, entries)
            entries, order = [], [arrival.id]
            if len(line.arrivals) > 1:  # who was first?
                order = yield from self._order(line)
            with self._lock:
                self.journaled += line.show(order)

    def _add(self, line: Line, entries: list[SessionMessage]) -> Flow[None]:
        voids, done, begun = line.voids.copy(), line.done.copy(), time.time()
        writes = bool(entries)
        for kind, ids in ((VOID, voids), (DONE, done)):
            if ids:
                entries.append(_entry(kind, msgspec.json.encode(ids), new_id()))
        if not entries:
            return
        if line.base:
            entries.insert(0, _entry(BASE, msgspec.json.encode(line.base), BASE))
        try:
            yield self._append(line.journals[-1], entries, JOURNALS, self.owner)
        except BaseException:
            line.doubtful |= writes  # they may still get there
            raise
        with self._lock:
            line.base, line.begun = None, True
            if len(line.journals) == 1:  # the others are as old as they were
                line.touched = begun
            line.voids = _without(line.voids, voids)
            line.done = _without(line.done, done)
            self._settle(line)

    def _order(self, line: Line) -> Flow[list[str]]:
        return (yield from self._ids(line.journals[-1], line.last))

    def _ids(self, journal: str, after: str) -> Flow[list[str]]:
        read = GetMessages(journal, after=after)
        entries: list[SessionMessage] = yield self._store, read
        return [str(entry.id) for entry in entries if entry.role == WRITE]

    @property
    def has_unnoted(self) -> bool:
        """Whether the journal does not say yet that something was put back."""
        with self._lock:
            return any(line.done for line in self._lines.values())

    @property
    def has_voids(self) -> bool:
        """Whether something may be in the journal that nobody was promised."""
        with self._lock:
            lines = any(line.voids for line in self._lines.values())
            return lines or any(voids for _, voids in self._graves.values())

    def write_voids(self) -> Flow[None]:
        """Write down what counts for nothing, where it got into the journal.

        A crash must not bring back what an interrupted caller was not promised.

        Raises:
            SessionStoreError: The fallback store fails.
        """
        for line in [line for line in self._lines.values() if line.voids]:
            if not {*(yield from self._order(line))}.isdisjoint(line.voids):
                yield from self._add(line, [])
        for journal, (_, voids) in list(self._graves.items()):
            if voids and not {*(yield from self._ids(journal, ""))}.isdisjoint(voids):
                yield from self._mark_graves()

    # -- Whose a journal is -----------------------------------------------------------------------

    def keep(self, line: Line) -> Flow[bool]:
        """Keep others from taking a line over for a while, so that it is put back by one alone.

        Returns:
            Whether it is ours. If not so, it is given up: somebody else puts it back.

        Raises:
            SessionStoreError: The fallback store fails.
        """
        now = time.time()
        if not (line.given_up or _is_fresh(line)):
            ours = True
            for journal in line.journals if line.begun else line.journals[:-1]:
                ours = ours and (yield from self._renew(line, journal))
            with self._lock:
                line.touched = max(line.touched, now)
                if not ours:
                    self._give_up(line)
        return not line.given_up

    def _renew(self, line: Line, journal: str) -> Flow[bool]:
        while not _is_fresh(line):  # else another has renewed it meanwhile
            there = yield self._store, Get(journal, 0)
            if there is None or keeper(there) != self.owner:
                return False
            try:
                if (yield from self.seize(journal, there.version)):
                    return True
            except OutageError:
                return True  # it is away itself, and holds expected_version back: nobody can
        return True

    def seize(self, journal: str, version: int) -> Flow[bool]:
        """Look after a journal from now on, unless it is not any more as it was found."""
        claim = Update(journal, metadata={ADOPTED_BY: self.owner}, expected_version=version)
        try:
            yield self._store, claim
        except (SessionConflictError, SessionNotFoundError):
            return False
        return True

    def give_back(self, call: Ticket) -> None:
        """Finish what a call was in the middle of when Ctrl-C broke it off, and let go of all."""
        if is_within(self._sweeper, call):
            self._sweeper = None
        with self._lock:
            for line in list(self._lines.values()):
                line.mend()
                for arrival in list(line.arrivals.values()):
                    if is_within(arrival.held, call):
                        self._arrived(line, arrival)
                if is_within(line.replaying, call):
                    line.replaying = None
                ended = line.replaying is None and not (line.writes or line.arrivals or line.done)
                self._settle(line, ended=ended)
            lines = self._lines.values()
            self._size = sum(
                len(line.writes) + sum(not one.over for one in line.arrivals.values())
                for line in lines
            )

    # -- Giving out -----------------------------------------------------------------------------

    def claim(self, session_id: str) -> Line | None:
        """Give a session's line to the one caller who is to put it back; ``None`` to others."""
        with self._lock:
            line = self._lines.get(session_id)
            if line is None or line.replaying is not None:
                return None
            line.replaying = ticket()
            self._settle(line)
            return line

    def next_batch(self, line: Line) -> list[PendingWrite]:
        """Give the first write of a line, or the appends that can go in one batch with it."""
        with self._lock:
            return first_batch(_first_ones(line))

    def put_back(self, line: Line, batch: list[PendingWrite]) -> None:
        """Take the first writes out of a line: the primary has them, or refused them."""
        with self._lock:
            if line.given_up:
                return
            line.done += [write.id for write in batch]
            for _ in batch:
                line.writes.popleft()
            self._size -= len(batch)

    def note(self, line: Line) -> Flow[None]:
        """Write down what was put back. A line stays until that is done.

        Else whoever takes the journal over after a crash would put it back again, over newer.

        Raises:
            SessionStoreError: The fallback store fails.
        """
        if line.done and not line.given_up:
            yield from self._add(line, [])

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

    def offer(self, write: PendingWrite) -> None:
        """Offer a write that stays where it is, since it can't be read."""
        with self._lock:
            if write.id not in self._rejected:
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
            line.replaying = None
            self._settle(line, ended=not (line.writes or line.arrivals or line.done))
            return line.session_id not in self._lines

    def sweep(self, most: int | None = None) -> Flow[None]:
        """Delete the journals that nobody needs any more. One caller at a time is at it.

        Args:
            most: At most so many; ``None`` for all.
        """
        if self._sweeper is not None:
            return
        self._sweeper = ticket()
        try:
            yield from self._mark_graves()
            # From the front: those behind it may tell that its writes are over.
            while self._litter and most != 0 and (yield from self._sweep_one()):
                most = None if most is None else most - 1
        finally:
            self._sweeper = None

    def _sweep_one(self) -> Flow[bool]:
        with self._lock:
            journal = next(iter(self._litter), None)
        if journal is None:
            return False
        try:
            yield from self._clear(journal)
        except SessionStoreError as error:
            self._rests_until = time.monotonic() + _REST
            _logger.warning("a journal could not be deleted: %s", _kind(error))
            return False
        with self._lock:  # until now it was looked after
            self._litter.pop(journal, None)
        return True

    def _clear(self, journal: str) -> Flow[None]:
        """Delete a journal; of one that is damaged, only tell that its writes are over."""
        if journal not in self._damaged:
            yield self._store, Delete(journal)
        elif over := self._damaged[journal]:
            entry = _entry(DONE, msgspec.json.encode(over), new_id())
            yield self._append(journal, [entry], JOURNALS, None)  # it was another's
            self._damaged[journal] = []

    def _mark_graves(self) -> Flow[None]:
        """Write down what counts for nothing in the journals that it may still get into."""
        for journal, (until, voids) in list(self._graves.items()):
            if voids:
                entry = _entry(VOID, msgspec.json.encode(voids), new_id())
                try:
                    yield self._append(journal, [entry], JOURNALS, self.owner)
                except SessionStoreError as error:
                    self._rests_until = time.monotonic() + _REST
                    _logger.warning("a journal could not be kept up to date: %s", _kind(error))
                    return
            with self._lock:
                if journal in self._graves:
                    self._graves[journal] = (until, [])
                    if time.monotonic() >= until:
                        del self._graves[journal]
                        self._litter[journal] = None

    # -- After a crash: see adoption.py -----------------------------------------------------------

    def looks_after(self, journal: str) -> bool:
        """Tell whether a journal is one of those of the lines here."""
        with self._lock:
            lines = self._lines.values()
            unneeded = journal in (self._litter.keys() | self._graves.keys() | self._damaged.keys())
            return unneeded or any(journal in line.journals for line in lines)

    def keep_damaged(self, journal: str, over: list[str]) -> None:
        """Let a journal stay, for what can't be read in it.

        Args:
            journal: Its id.
            over: The ids of its writes that will be over when it is done with, and are not said to
                be so in it.
        """
        with self._lock:
            self._damaged[journal] = over

    def adopt(self, session_id: str, journals: list[str], writes: list[PendingWrite]) -> None:
        """Take writes in that somebody else's journals hold, behind the session's own."""
        with self._lock:
            if not writes:
                self._litter.update(dict.fromkeys(journals))
                return
            line = self._lines.get(session_id)
            if line is None:
                line = self._lines[session_id] = Line(session_id, None, [new_id()])
                line.touched = time.time()
            line.taken = True
            line.journals[:0] = journals
            line.writes.extend(map(encode_write, writes))
            self._size += len(writes)
            self._settle(line)

    # -- With the lock held -----------------------------------------------------------------------

    def _arrived(self, line: Line, arrival: Arrival) -> None:
        if arrival.sent and not arrival.over and arrival.id not in line.voids:
            line.voids.append(arrival.id)
        line.arrivals.pop(arrival.id, None)
        if not arrival.over or arrival.error is not None:
            self._size -= 1
        self._settle(line)

    def _settle(self, line: Line, *, ended: bool = False) -> None:
        """See to it that the line stands where it should."""
        if self._lines.get(line.session_id) is not line:
            return
        something = bool(line.writes or line.voids or line.done or line.doubtful) and not ended
        if something and line.replaying is None:
            self._waiting.setdefault(line.session_id)
        else:
            self._waiting.pop(line.session_id, None)
        if not (something or line.arrivals or line.replaying is not None):
            self._end(line)

    def _end(self, line: Line) -> None:
        del self._lines[line.session_id]
        self._ended(line.session_id)
        *others, own = line.journals
        self._litter.update(dict.fromkeys(others))
        if line.doubtful:
            self._graves[own] = (time.monotonic() + _LATE, line.voids)
        elif line.begun:
            self._litter[own] = None

    def _give_up(self, line: Line) -> None:
        if not line.given_up:
            _logger.warning("another process has taken %d writes over", len(line.writes))
            line.given_up = True
            self._lines.pop(line.session_id)
            self._ended(line.session_id)
            self._waiting.pop(line.session_id, None)
            self._size -= len(line.writes)
            line.writes.clear()
            line.done.clear()

    def _has_ripe(self) -> bool:
        with self._lock:
            until, voids = next(iter(self._graves.values()), (float("inf"), []))
        return bool(voids) or time.monotonic() >= until

    def _append(
        self, session_id: str, entries: list[SessionMessage], agent_id: str, user_id: str | None
    ) -> tuple[SessionStore, Append]:
        return self._store, Append(session_id, entries, agent_id, user_id)


def keeper(journal: SessionInfo | SessionData) -> str:
    """Tell who looks after a journal."""
    return str(journal.metadata.get(ADOPTED_BY) or journal.user_id or "")


def _without(ids: list[str], gone: list[str]) -> list[str]:
    known = set(gone)
    return [each for each in ids if each not in known] if gone else ids


def _is_fresh(line: Line) -> bool:
    return 0 <= time.time() - line.touched < _LEASE


def _first_ones(line: Line) -> Iterator[PendingWrite]:
    left = _BATCH_BYTES
    for place, raw in enumerate(islice(line.writes, line.most)):
        left -= len(raw)
        if place and left < 0:
            return
        yield decode_write(raw)


def _entry(kind: str, body: bytes, entry_id: str) -> SessionMessage:
    return SessionMessage(kind, body.decode(), id=entry_id)


def _kind(error: SessionStoreError) -> str:
    return type(error).__name__
