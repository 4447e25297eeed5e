"""`Triage`: what an error of the primary tells: of one session, or of the whole store."""

from __future__ import annotations

import logging
import time

from sessionstore.deadline import deadline_after
from sessionstore.errors import StoreTimeoutError, StoreUnavailableError
from sessionstore.fallback.circuits import Circuits
from sessionstore.fallback.health import PING, Access, Health, Permit
from sessionstore.store import SessionStore

__all__ = ["Triage"]

_logger = logging.getLogger("sessionstore")

# A request that was given a smaller part of the timeout than this says nothing by being late.
_FAIR = 0.25
_WHOLE = 0.9


class Triage:
    """Decides whom an error of the primary condemns.

    Args:
        primary: The store that was asked.
        health: Whether it is there at all.
        circuits: The sessions that it does not answer for.
    """

    def __init__(self, primary: SessionStore, health: Health, circuits: Circuits) -> None:
        self._primary = primary
        self.health = health
        self.circuits = circuits

    def deadline(self, part: float = 1.0) -> float | None:
        """Give the time at which what begins now must be over.

        Args:
            part: How much of the primary's timeout it may take.

        Returns:
            The time, of `time.monotonic`; ``None`` where there is no timeout.
        """
        timeout = self._primary.timeout
        return deadline_after(None if timeout is None else timeout * part)

    def enter(self, session_id: str | None, *, reads: bool) -> Permit | None:
        """Let a caller ask the primary, if it is there for them and their session.

        Args:
            session_id: The session; `PING`; ``None`` for what is about no single one.
            reads: The caller only reads.

        Returns:
            The permit, to be handed to `leave`; ``None`` for those who are not to ask.
        """
        permit = self.health.permit(reads=reads)
        if permit is not None and self.circuits.open and not self.circuits.enter(session_id):
            self.health.end(permit)
            return None
        return permit

    def leave(self, session_id: str | None, permit: Permit) -> None:
        """Let others try what this caller alone has tried, where it is over or was given up."""
        if self.circuits.open:
            self.circuits.leave(session_id)
        if permit.access is not Access.NORMAL:
            self.health.end(permit)

    def heard(self, session_id: str | None) -> None:
        """Take note that the primary has answered."""
        self.health.last_late = None
        if self.circuits.open:
            self.circuits.answered(session_id)

    def failed(
        self,
        session_id: str | None,
        permit: Permit,
        error: StoreUnavailableError,
        started: float,
        deadline: float | None,
    ) -> None:
        """Take note that the primary has not.

        Args:
            session_id: The session that was asked for; ``None`` for a list or a prune, which are
                slow by themselves; `PING`.
            permit: The caller's permit to ask.
            error: What came instead.
            started: When the request began, of `time.monotonic`.
            deadline: When the caller's time is up; ``None`` for the primary's own timeout.
        """
        late = isinstance(error, StoreTimeoutError)
        fair = late and session_id is not None and self._was_fair(started, deadline)
        if fair and session_id != PING and self.circuits.failed(str(session_id)):
            self.health.events.add("slow_session", type(error).__name__)
            msg = "%r did not answer in time for one session: the fallback answers for that one"
            _logger.warning(msg, self._primary)
        if not late or permit.is_probe:
            self.health.failed(permit, error)
        elif fair and session_id is not None:
            self.health.timed_out(permit, session_id, error)

    def back(self, permit: Permit) -> None:
        """End the outage, where this caller is the one who probes: nobody is left alone then."""
        if permit.is_probe:
            self.health.answered(permit)
            self.circuits.clear()

    def waited_all(self, started: float) -> bool:
        """Tell whether a request that has failed was given the whole of the primary's timeout.

        Args:
            started: When it began, of `time.monotonic`.
        """
        timeout = self._primary.timeout
        return timeout is None or time.monotonic() - started >= timeout * _WHOLE

    def _was_fair(self, started: float, deadline: float | None) -> bool:
        timeout, outer = self._primary.timeout, deadline_after(None)
        ends = [end for end in (deadline, outer) if end is not None]
        return timeout is None or not ends or min(ends) - started >= timeout * _FAIR
