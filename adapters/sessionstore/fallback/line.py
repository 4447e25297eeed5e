"""`Line`: the pending writes of one session, shown in the order in which their journal has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import msgspec

from sessionstore._runtime.tickets import Ticket
from sessionstore.errors import SessionStoreError
from sessionstore.fallback.writes import id_of
from sessionstore.memory import StoredSession

__all__ = ["Arrival", "Line"]


class Arrival(msgspec.Struct, eq=False):
    """A write on its way into a journal.

    Attributes:
        id: Its id there.
        body: The write, as JSON.
        show: Makes the session's readers see it.
        stamp: Tells one state of what they see from all others.
        held: The ticket of the call that waits for it.
        before: The stamp before it was shown.
        result: What ``show`` gave.
        error: What ``show`` raised: it is not taken in.
        sent: It may be in the journal, whatever became of the request.
        over: One of the two is there.
    """

    id: str
    body: bytes
    show: Callable[[], Any]
    stamp: Callable[[], int]
    held: Ticket
    before: int | None = None
    result: Any = None
    error: SessionStoreError | None = None
    sent: bool = False
    over: bool = False


class Line(msgspec.Struct, eq=False):
    """The pending writes of one session, in the order in which its readers see them.

    Attributes:
        session_id: The session.
        base: What was known of the session before them, until the journal has it.
        journals: The ids of the journals that hold them; the last one takes in the next.
        writes: The writes, as JSON.
        arrivals: Those on their way into the journal.
        last: The journal's last entry before which all is shown, or counts for nothing.
        voids: The ids of writes that may be in the journal, though nobody was promised them: it is
            to be written there that they count for nothing.
        done: The ids of writes that the primary has, or refused, until the journal says so.
        doubtful: One of ``voids`` may still get there.
        begun: The last journal is there.
        touched: When the journals were ours for sure, as `time.time` has it.
        replaying: The ticket of who puts the writes back just now.
        complained: It was logged that they can't be put back.
        taken: One was taken in.
        most: How many writes one request puts back at most.
        given_up: Another process puts them back.
    """

    session_id: str
    base: StoredSession | None
    journals: list[str]
    writes: deque[bytes] = msgspec.field(default_factory=deque)
    arrivals: dict[str, Arrival] = {}
    last: str = ""
    voids: list[str] = []
    done: list[str] = []
    doubtful: bool = False
    begun: bool = False
    touched: float = 0.0
    replaying: Ticket | None = None
    complained: bool = False
    taken: bool = False
    given_up: bool = False
    most: int = 500

    MOST: ClassVar[int] = 500

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
            if arrival is not None and not arrival.over:
                shown += self._show(arrival)
            self.last = arrival_id
        return shown

    def _show(self, arrival: Arrival) -> bool:
        arrival.before = arrival.stamp()
        try:
            arrival.result = arrival.show()
        except SessionStoreError as error:
            arrival.error = error
            self.voids.append(arrival.id)
        else:
            self._take(arrival)
        arrival.over = True
        return arrival.error is None

    def _take(self, arrival: Arrival) -> None:
        if not self.writes or self.writes[-1] is not arrival.body:
            self.writes.append(arrival.body)
        self.taken = True

    def mend(self) -> None:
        """Finish what was broken off in the middle: what is shown is taken, what is done is out."""
        for arrival in self.arrivals.values():
            if not (arrival.over or arrival.before in (None, arrival.stamp())):
                self._take(arrival)
                arrival.over = True
        while self.writes and id_of(self.writes[0]) in self.done:
            self.writes.popleft()
