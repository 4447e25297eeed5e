"""`Journal`: the writes that a fallback has journaled, kept in the fallback store."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Any

from sessionstore._runtime.tickets import Ticket, is_within, task_ticket
from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.fallback import lease
from sessionstore.fallback.batch import Batch, first_batch
from sessionstore.fallback.entries import Entry, decode_entry, encode_entry, kind_of
from sessionstore.fallback.events import Events
from sessionstore.fallback.journal_form import (
    DONE,
    JOURNALS,
    VOID,
    base_entry,
    ids_entry,
    write_entry,
)
from sessionstore.fallback.journal_owners import leave, name_for
from sessionstore.fallback.known import KnownSession
from sessionstore.fallback.obsolete import ObsoleteJournals, written_ids
from sessionstore.fallback.pending import PendingWrite
from sessionstore.fallback.queue import UNDER_WAY, Arrival, ArrivalState, PendingQueue, QueueState
from sessionstore.fallback.rejected import RejectedWrites
from sessionstore.fallback.requests import FallbackFlow, Request
from sessionstore.models import SessionMessage, new_id
from sessionstore.operations import Append
from sessionstore.store import SessionStore

__all__ = ["Journal"]

_logger = logging.getLogger("sessionstore")

# So many failures to write into a journal are kept in mind before it must take word of them.
_MOST_VOIDS = 1_000


class Journal:
    """The pending writes of every session: in memory to be read, in the fallback store to last.

    No lock is held across a request, and each request may be the last: whoever is cancelled there
    leaves all as it is to be.

    Args:
        store: The fallback store.
        max_pending: How many writes may wait in it.
        ended: Is called for a session, with the lock held, when nothing of it is in here any more.
        events: Is told what is set aside.
    """

    def __init__(
        self,
        store: SessionStore,
        max_pending: int,
        ended: Callable[[str], None],
        events: Events | None = None,
    ) -> None:
        self._store = store
        self._ended = ended
        self._max_pending = max_pending
        # Reentrant, since the collector may end a call in here that was left under way.
        self._lock = RLock()
        self._left = False
        self._queues: dict[str, PendingQueue] = {}
        # The sessions whose writes nobody replays just now; who waits longest comes first.
        self._waiting: dict[str, None] = {}
        self._size = 0
        self.owner: str = name_for(self)
        self.obsolete: ObsoleteJournals = ObsoleteJournals(store, self.owner, self._lock)
        self.rejected: RejectedWrites = RejectedWrites(store, events or Events())
        self.journaled: int = 0
        self.replayed: int = 0

    # -- What waits -------------------------------------------------------------------------------

    def pending(self) -> list[PendingWrite]:
        """Give the writes that the primary does not have yet, session by session."""
        return [decode_entry(raw).pending() for _, raws in self._bodies() for raw in raws]

    def kinds(self) -> dict[str, Counter[str]]:
        """Count those writes by session and by what they do, without reading what they say."""
        return {session: Counter(map(kind_of, raws)) for session, raws in self._bodies()}

    def _bodies(self) -> list[tuple[str, list[bytes]]]:
        bodies: list[tuple[str, list[bytes]]] = []
        with self._lock:  # to copy only: who writes would wait while they are read
            queues = list(self._queues.values())
            bodies.extend((queue.session_id, [*queue.writes]) for queue in queues if queue.writes)
        return bodies

    @property
    def size(self) -> int:
        """How many writes wait, or are on their way in."""
        return self._size

    @property
    def has_work(self) -> bool:
        """Whether something waits that nobody does just now."""
        return bool(self._waiting) or self.obsolete.has_work

    @property
    def has_unnoted(self) -> bool:
        """Whether the journal does not say yet that something was replayed."""
        with self._lock:
            return any(queue.done for queue in list(self._queues.values()))

    @property
    def has_voids(self) -> bool:
        """Whether something may be in the journal that nobody was promised."""
        with self._lock:
            queues = any(queue.voids for queue in list(self._queues.values()))
        return queues or self.obsolete.has_voids

    def holds(self, session_id: str) -> bool:
        """Tell whether something of a session is to be replayed or written down first."""
        return session_id in self._queues

    def has_shown(self, session_id: str) -> bool:
        """Tell whether writes of a session were journaled that are not all replayed."""
        queue = self._queues.get(session_id)
        return queue is not None and queue.has_shown

    def owns(self, journal: str) -> bool:
        """Tell whether a journal is one of those of the queues here."""
        with self._lock:
            if any(journal in queue.journals for queue in list(self._queues.values())):
                return True
        # Not before, since a queue that ends in between leaves its journals there.
        return journal in self.obsolete

    def waiting(self) -> list[str]:
        """Give the sessions whose writes nobody replays just now."""
        with self._lock:
            return list(self._waiting)

    def next_waiting(self, passes: Callable[[str], bool]) -> str | None:
        """Give the session that has waited longest.

        Args:
            passes: Tells the sessions to pass over.
        """
        with self._lock:
            return next((each for each in list(self._waiting) if not passes(each)), None)

    def leave(self) -> None:
        """Own nothing any more: whoever opens the fallback store next takes over."""
        with self._lock:
            self._left = True  # what came in now would be replayed by nobody here
        leave(self.owner)

    # -- Writing down -----------------------------------------------------------------------------

    def add(
        self, session_id: str, arrival: Arrival, base: Callable[[], KnownSession | None]
    ) -> FallbackFlow[Any]:
        """Journal a write: from then on it is in its session's queue.

        Args:
            session_id: The session.
            arrival: The write.
            base: Gives what is known of the session, if this is the first write of its queue.

        Returns:
            The write's result.

        Raises:
            StoreUnavailableError: The journal is full, or the fallback store fails.
        """
        queue = self._expect(session_id, arrival, base)
        try:
            if queue.is_leased or (yield from self.keep(queue)):
                yield from self._enter(queue, arrival)
            if arrival.error is not None and queue.voids:
                with suppress(SessionStoreError):
                    yield from self._write(queue, [])
        except StoreUnavailableError:
            if not arrival.is_over:  # else another has seen that it is there
                raise
        except SessionStoreError as error:
            if not arrival.is_over:
                raise StoreUnavailableError("the fallback store fails: see the cause") from error
        finally:
            with self._lock:
                self._arrived(queue, arrival)
        if arrival.error is not None:
            raise arrival.error
        if arrival.state is not ArrivalState.SHOWN:  # another process has taken the queue over
            return (yield from self.add(session_id, arrival, base))
        return arrival.result

    def _expect(
        self, session_id: str, arrival: Arrival, base: Callable[[], KnownSession | None]
    ) -> PendingQueue:
        with self._lock:
            if self._left:
                raise SessionStoreError("this store is closed")
            if self._size >= self._max_pending:
                raise StoreUnavailableError(
                    f"{self._max_pending} writes wait for the store already, and no more may: "
                    "try again when it is back"
                )
            queue = self._queue_with(
                lambda queue: queue.arrivals.update({arrival.id: arrival}),
                lambda: PendingQueue(session_id, base(), [new_id()]),
                session_id,
            )
            self._size += 1
            return queue

    def _enter(self, queue: PendingQueue, arrival: Arrival) -> FallbackFlow[None]:
        """Write it into the journal, and show all that is there up to it, in that order."""
        if len(queue.voids) >= _MOST_VOIDS:  # the store fails: does it still?
            yield from self._write(queue, [])
        entries = [write_entry(arrival.body, arrival.id)]
        while arrival.state in UNDER_WAY:
            arrival.state = ArrivalState.SENT
            yield from self._write(queue, entries)
            entries, order = [], [arrival.id]
            if len(queue.arrivals) > 1:  # who was first?
                order = yield from written_ids(self._store, queue.journals[-1], queue.last)
            with self._lock:
                self.journaled += queue.show(order)

    def _write(self, queue: PendingQueue, entries: list[SessionMessage]) -> FallbackFlow[None]:
        voids, done, begun = queue.voids.copy(), queue.done.copy(), time.time()
        writes = bool(entries)
        if voids:
            entries.append(ids_entry(VOID, voids))
        if done:
            entries.append(ids_entry(DONE, done))
        if not entries:
            return
        if queue.base:
            entries.insert(0, base_entry(queue.base))
        try:
            append = Append(queue.journals[-1], entries, JOURNALS, self.owner)
            yield Request(self._store, append)
            self._written(queue, voids, done, begun)
        except BaseException:
            queue.doubtful |= writes  # they may still get there, or are there
            raise

    def _written(
        self, queue: PendingQueue, voids: list[str], done: list[str], begun: float
    ) -> None:
        with self._lock:
            queue.base = None
            if queue.state is QueueState.NEW:
                queue.state = QueueState.BEGUN
            if len(queue.journals) == 1:  # the others are as old as they were
                queue.touched = begun
            if voids or done:
                queue.note_written(voids, done)
                self._settle(queue)

    def note(self, queue: PendingQueue) -> FallbackFlow[None]:
        """Write down what was replayed. A queue stays until that is done.

        Else whoever takes the journal over after a crash would replay it again, over newer.

        Raises:
            SessionStoreError: The fallback store fails.
        """
        if queue.done and not queue.is_given_up:
            yield from self._write(queue, [])

    def write_voids(self) -> FallbackFlow[None]:
        """Write down what counts for nothing, where it got into the journal.

        A crash must not bring back what an interrupted caller was not promised.

        Raises:
            SessionStoreError: The fallback store fails.
        """
        for queue in [queue for queue in list(self._queues.values()) if queue.voids]:
            written = yield from written_ids(self._store, queue.journals[-1], queue.last)
            if not set(written).isdisjoint(queue.voids):
                yield from self._write(queue, [])
        yield from self.obsolete.write_voids()

    # -- Replay -----------------------------------------------------------------------------------

    def keep(self, queue: PendingQueue) -> FallbackFlow[bool]:
        """Keep others from taking a queue over for a while, so that it is replayed by one alone.

        Returns:
            Whether it is ours. If not so, it is given up: somebody else replays it.

        Raises:
            SessionStoreError: The fallback store fails.
        """
        now = time.time()
        if not (queue.is_leased or queue.is_given_up):
            ours = yield from lease.renew(self._store, self.owner, queue)
            with self._lock:
                gone = None if ours else self._give_up(queue)
                if ours:
                    queue.touched = max(queue.touched, now)
            if gone is not None:  # not with the lock held: another may log as a call is collected
                _logger.warning("another process has taken over %d writes", gone)
        return not queue.is_given_up

    def claim(self, session_id: str) -> PendingQueue | None:
        """Give a session's queue to the one caller who is to replay it; ``None`` to others."""
        with self._lock:
            queue = self._queues.get(session_id)
            if queue is None:
                self._waiting.pop(session_id, None)
            if queue is None or queue.replaying is not None:
                return None
            queue.replaying = task_ticket()
            self._settle(queue)
            return queue if self._queues.get(session_id) is queue else None  # it was just ended

    def next_batch(self, queue: PendingQueue) -> Batch | None:
        """Give the first writes of a queue that can go together; ``None`` where there are none."""
        with self._lock:
            return first_batch(queue.first())

    def mark_done(self, queue: PendingQueue, batch: Batch) -> None:
        """Take the first writes out of a queue: the primary has them, or refused them."""
        with self._lock:
            if queue.is_given_up:
                return
            queue.done += batch.ids
            for _ in batch.ids:
                queue.writes.popleft()
            size = batch.size  # a call: within the next step, another one could come in
            self._size -= size

    def release(self, queue: PendingQueue) -> bool:
        """End a claim; give up the queue, with its journals, where nothing is left in it.

        Returns:
            Whether nothing is left.
        """
        with self._lock:
            queue.replaying = None
            self._settle(queue, ended=queue.is_empty)
            return queue.session_id not in self._queues

    def adopt(self, session_id: str, journals: list[str], entries: list[Entry]) -> None:
        """Queue writes that somebody else's journals hold, behind the session's own."""
        if not entries:
            self.obsolete.add(journals)
            return
        bodies = [*map(encode_entry, entries)]
        added = len(bodies)
        with self._lock:
            queue = self._queue_with(
                lambda queue: queue.writes.extend(bodies),
                lambda: PendingQueue(session_id, None, [new_id()], touched=time.time()),
                session_id,
            )
            queue.has_shown = True
            queue.journals[:0] = journals
            self._size += added
            self._settle(queue)

    def let_go(self, call: Ticket) -> None:
        """Finish what a call was in the middle of when Ctrl-C broke it off, and let go of all."""
        self.obsolete.let_go(call)
        with self._lock:
            for queue in list(self._queues.values()):
                queue.mend()
                for arrival in list(queue.arrivals.values()):
                    if is_within(arrival.held, call):
                        self._arrived(queue, arrival)
                if is_within(queue.replaying, call):
                    queue.replaying = None
                self._settle(queue, ended=queue.replaying is None and queue.is_empty)
            self._size = sum(queue.size for queue in list(self._queues.values()))

    def end_unless_held(self, session_id: str) -> None:
        """Say once more that nothing of a session is in here, where that is so."""
        with self._lock:
            if session_id not in self._queues:
                self._ended(session_id)

    # -- With the lock held -----------------------------------------------------------------------

    def _queue_with(
        self,
        put: Callable[[PendingQueue], object],
        made: Callable[[], PendingQueue],
        session_id: str,
    ) -> PendingQueue:
        """Put something into a session's queue, which stays then: before, it may be ended."""
        while True:
            queue = self._queues.get(session_id) or self._queues.setdefault(session_id, made())
            put(queue)
            if self._queues.get(session_id) is queue:
                return queue

    def _arrived(self, queue: PendingQueue, arrival: Arrival) -> None:
        if arrival.state is ArrivalState.SENT and arrival.id not in queue.voids:
            queue.voids.append(arrival.id)
        queue.arrivals.pop(arrival.id, None)
        if arrival.state is not ArrivalState.SHOWN:
            self._size -= 1
        self._settle(queue)

    def _settle(self, queue: PendingQueue, *, ended: bool = False) -> None:
        """See to it that the queue stands where it should."""
        if self._queues.get(queue.session_id) is not queue:
            return
        something = bool(queue.writes or queue.voids or queue.done or queue.doubtful) and not ended
        if something and queue.replaying is None:
            self._waiting.setdefault(queue.session_id)
        else:
            self._waiting.pop(queue.session_id, None)
        if not (something or queue.arrivals or queue.replaying is not None):
            self._end(queue)

    def _end(self, queue: PendingQueue) -> None:
        if self._queues.get(queue.session_id) is not queue:
            return  # the collector came in between
        if not queue.is_empty:  # the same: what waits now is not to be passed over
            self._settle(queue)
            return
        self._queues.pop(queue.session_id, None)
        if queue.session_id not in self._queues:
            self._ended(queue.session_id)
        *others, own = queue.journals
        self.obsolete.add(others)
        if queue.doubtful:
            self.obsolete.add_tombstone(own, queue.voids)
        elif queue.state is QueueState.BEGUN:
            self.obsolete.add([own])

    def _give_up(self, queue: PendingQueue) -> int | None:
        if queue.is_given_up:
            return None
        queue.state = QueueState.GIVEN_UP
        self._queues.pop(queue.session_id, None)
        if queue.session_id not in self._queues:  # the collector may come in with its next one
            self._waiting.pop(queue.session_id, None)
        if queue.session_id not in self._queues:
            self._ended(queue.session_id)
        gone = queue.clear()
        self._size -= gone
        return gone
