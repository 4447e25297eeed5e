"""`PendingQueue`: the pending writes of one session, in the order in which its journal has them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import islice
from typing import Any, ClassVar

import msgspec

from sessionstore._runtime.tickets import Ticket
from sessionstore.errors import SessionStoreError
from sessionstore.fallback.entries import id_of
from sessionstore.fallback.known import KnownSession

__all__ = ["UNDER_WAY", "Arrival", "ArrivalState", "PendingQueue", "QueueState"]

# In seconds. So long after its last entry nobody can have taken a journal over: see owners.py.
_LEASE = 30.0
# What one request replays at most, so that it is done within the primary's timeout.
_BATCH_BYTES = 1_000_000


class ArrivalState(Enum):
    """How far a write is on its way into a journal.

    Attributes:
        EXPECTED: Nothing was sent.
        SENT: It may be in the journal, whatever became of the request.
        SHOWN: It is in the journal, and the session's readers see it.
        REFUSED: It is in the journal, and counts for nothing.
    """

    EXPECTED = "expected"
    SENT = "sent"
    SHOWN = "shown"
    REFUSED = "refused"


UNDER_WAY = (ArrivalState.EXPECTED, ArrivalState.SENT)


class Arrival(msgspec.Struct, eq=False):
    """A write on its way into a journal.

    Attributes:
        id: Its id there.
        body: The entry, as JSON.
        show: Notes the stamp, and then makes the session's readers see it. What it raises is
            raised, and it is not journaled.
        stamp: Tells one state of what they see from all others.
        held: The ticket of the call that waits for it.
        before: The stamp before it was shown.
        result: What ``show`` gave.
        error: What ``show`` raised.
        state: How far it is.
    """

    id: str
    body: bytes
    show: Callable[[Arrival], Any]
    stamp: Callable[[], int]
    held: Ticket
    before: int | None = None
    result: Any = None
    error: SessionStoreError | None = None
    state: ArrivalState = ArrivalState.EXPECTED

    @property
    def is_over(self) -> bool:
        """Whether it was shown, or refused."""
        return self.state not in UNDER_WAY


class QueueState(Enum):
    """Whether a queue's journal is there.

    Attributes:
        NEW: The last journal is not written yet.
        BEGUN: It is there.
        GIVEN_UP: Another process replays the writes.
    """

    NEW = "new"
    BEGUN = "begun"
    GIVEN_UP = "given up"


class PendingQueue(msgspec.Struct, eq=False):
    """The pending writes of one session, in the order in which its readers see them.

    Attributes:
        session_id: The session.
        base: What was known of the session before them, until the journal has it.
        journals: The ids of the journals that hold them; the last one gets the next.
        writes: The entries, as JSON.
        arrivals: Those on their way into the journal.
        last: The journal's last entry before which all is shown, or counts for nothing.
        voids: The ids of writes that may be in the journal, though nobody was promised them: it is
            to be written there that they count for nothing.
        done: The ids of writes that the primary has, or refused, until the journal says so.
        state: Whether the last journal is there.
        doubtful: One of ``voids`` may still get there.
        touched: When the journals were ours for sure, as `time.time` has it.
        replaying: The ticket of who replays the writes just now.
        warned: It was logged that they can't be replayed.
        has_shown: One was shown.
        most: How many writes one request replays at most.
    """

    session_id: str
    base: KnownSession | None
    journals: list[str]
    writes: deque[bytes] = msgspec.field(default_factory=deque)
    arrivals: dict[str, Arrival] = {}
    last: str = ""
    voids: list[str] = []
    done: list[str] = []
    state: QueueState = QueueState.NEW
    doubtful: bool = False
    touched: float = 0.0
    replaying: Ticket | None = None
    warned: bool = False
    has_shown: bool = False
    most: int = 500

    MOST: ClassVar[int] = 500

    def __repr__(self) -> str:
        """Tell how many writes wait: never what was said."""
        return f"PendingQueue({self.session_id!r}, <{len(self.writes)} writes>)"

    @property
    def is_given_up(self) -> bool:
        """Whether another process replays the writes."""
        return self.state is QueueState.GIVEN_UP

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it has to be replayed, written down or waited for."""
        return not (self.writes or self.arrivals or self.done)

    @property
    def size(self) -> int:
        """How many writes wait, or are on their way in."""
        return len(self.writes) + sum(not one.is_over for one in list(self.arrivals.values()))

    @property
    def is_leased(self) -> bool:
        """Whether the journals are ours for sure: nobody has to be asked."""
        given_up = self.state is QueueState.GIVEN_UP
        return not given_up and 0 <= time.time() - self.touched < _LEASE

    def show(self, order: Iterable[str]) -> int:
        """Show writes that the journal has, and count them.

        None is shown while something before it counts for nothing and the journal does not say so:
        a crash would bring that back, in front of what was shown.

        Args:
            order: Their ids, in the journal's order.
        """
        shown = 0
        for arrival_id in order:
            if self.voids:
                break
            arrival = self.arrivals.get(arrival_id)
            if arrival is not None and arrival.state in UNDER_WAY:
                shown += self._show(arrival)
            self.last = arrival_id
        return shown

    def _show(self, arrival: Arrival) -> bool:
        try:
            arrival.result = arrival.show(arrival)
            self._add(arrival)
        except SessionStoreError as error:
            arrival.error = error
            self.voids.append(arrival.id)
            arrival.state = ArrivalState.REFUSED
            return False
        except BaseException:  # Ctrl-C: what readers see already is in
            self._mend(arrival)
            raise
        return True

    def _add(self, arrival: Arrival) -> None:
        if not self.writes or self.writes[-1] is not arrival.body:
            self.writes.append(arrival.body)
        self.has_shown = True
        arrival.state = ArrivalState.SHOWN

    def _mend(self, arrival: Arrival) -> None:
        if not (arrival.is_over or arrival.before in (None, arrival.stamp())):
            self._add(arrival)

    def mend(self) -> None:
        """Finish what Ctrl-C broke off: what is shown is in, what is done is out."""
        for arrival in list(self.arrivals.values()):
            self._mend(arrival)
        while self.writes and id_of(self.writes[0]) in self.done:
            self.writes.popleft()

    def note_written(self, voids: list[str], done: list[str]) -> None:
        """Take note that the journal says what counts for nothing, and what is done."""
        _take_out(self.voids, voids)
        _take_out(self.done, done)

    def clear(self) -> int:
        """Forget the writes, which are another's now, and tell how many those were."""
        gone = len(self.writes)
        self.writes.clear()
        self.done.clear()
        return gone

    def first(self) -> Iterator[bytes]:
        """Give the first writes: as many as one request replays at most."""
        left = _BATCH_BYTES
        for place, raw in enumerate(islice(self.writes, self.most)):
            left -= len(raw)
            if place and left < 0:
                return
            yield raw


def _take_out(ids: list[str], gone: list[str]) -> None:
    known, count = set(gone), len(ids)  # what the collector ends is put behind these
    ids[:count] = [each for each in ids[:count] if each not in known]
