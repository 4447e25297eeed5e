"""`Circuits`: a session whose calls time out is left alone for a while, and no other with it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import RLock

import msgspec

from sessionstore._runtime.tickets import Ticket, is_within, task_ticket

__all__ = ["Circuits"]

_MOST = 10_000


class _Circuit(msgspec.Struct):
    delay: float
    next_try: float
    trying: Ticket | None = None


class Circuits:
    """The sessions that the primary did not answer for in time, and when each is tried again.

    Args:
        retry_after: How long a session is left alone at first, in seconds. The time doubles with
            each try that fails.
        retry_cap: The longest time, in seconds.

    Attributes:
        open: The sessions that are left alone: mostly none, which their users look at first.
    """

    def __init__(self, retry_after: float, retry_cap: float) -> None:
        self._lock = RLock()  # reentrant, as the journal's
        self._retry_after = retry_after
        self._retry_cap = retry_cap
        self.open: dict[str, _Circuit] = {}

    def __len__(self) -> int:
        """Tell how many sessions are left alone."""
        return len(self.open)

    def fresh(self) -> Circuits:
        """Make those of a forked child, which knows of nothing."""
        return Circuits(self._retry_after, self._retry_cap)

    def is_open(self, session_id: str) -> bool:
        """Tell whether nobody is to try the session now."""
        circuit = self.open.get(session_id)
        return circuit is not None and (
            circuit.trying is not None or time.monotonic() < circuit.next_try
        )

    def enter(self, session_id: str | None, *, now: bool = False) -> bool:
        """Let the caller try a session: all while it is answered for, else one at a time.

        Args:
            session_id: The session; ``None`` for what is about no single one.
            now: Before it is time to.

        Returns:
            Whether they may. If so, `leave` follows.
        """
        if session_id is None:
            return True
        with self._lock:
            circuit = self.open.get(session_id)
            if circuit is None:
                return True
            if circuit.trying is not None or (time.monotonic() < circuit.next_try and not now):
                return False
            circuit.trying = task_ticket()
            return True

    def leave(self, session_id: str | None) -> None:
        """Let another try, where this one is over or was given up."""
        if session_id is not None and (circuit := self.open.get(session_id)):
            circuit.trying = None

    def let_go(self, call: Ticket) -> None:
        """Let others try what a call was at that was broken off."""
        for circuit in list(self.open.values()):
            if is_within(circuit.trying, call):
                circuit.trying = None

    def failed(self, session_id: str) -> bool:
        """Leave the session alone, for twice as long as the last time.

        Returns:
            Whether this is the first time.
        """
        with self._lock:
            circuit = self.open.get(session_id)
            is_first = circuit is None
            if circuit is None:
                if len(self.open) >= _MOST:
                    self.open.pop(next(iter(list(self.open))), None)
                circuit = self.open[session_id] = _Circuit(self._retry_after, 0.0)
            else:
                circuit.delay = min(circuit.delay * 2, self._retry_cap)
            jitter = 1 + random.random() / 4  # noqa: S311 - no secret
            circuit.next_try = time.monotonic() + circuit.delay * jitter
            return is_first

    def clear(self, keep: Callable[[str], bool] | None = None) -> None:
        """Leave none alone any more: the primary is back.

        Args:
            keep: Tells those for which that is not known yet.
        """
        with self._lock:
            for session_id in list(self.open):
                if keep is None or not keep(session_id):
                    self.open.pop(session_id, None)

    def answered(self, session_id: str | None) -> None:
        """Take note that the primary answers for the session again."""
        if session_id is not None:
            with self._lock:
                self.open.pop(session_id, None)
