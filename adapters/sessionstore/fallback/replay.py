"""`Replay`: puts back what a fallback has taken in."""

from __future__ import annotations

import logging
import time

from msgspec.structs import replace

from sessionstore._runtime.tickets import Ticket
from sessionstore.errors import (
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.fallback.health import Permit
from sessionstore.fallback.journal import Journal
from sessionstore.fallback.line import Line
from sessionstore.fallback.refusals import Refusals
from sessionstore.fallback.triage import Triage
from sessionstore.fallback.writes import PendingWrite, joined
from sessionstore.flow import Flow
from sessionstore.operations import Ping
from sessionstore.store import SessionStore

__all__ = ["Replay"]

_logger = logging.getLogger("sessionstore")

# A caller who has nothing to do with a session gives its replay this part of the timeout.
_CHORE = 0.5
_SWEPT = 8  # journals, at most, that one call deletes


class Replay:
    """Carries the journal's writes out on the primary, a session by one caller at a time.

    Args:
        primary: Where they go.
        journal: Where they are.
        triage: Is told how the primary answers, and tells which sessions to leave alone.
    """

    def __init__(self, primary: SessionStore, journal: Journal, triage: Triage) -> None:
        self._primary = primary
        self._journal = journal
        self._triage = triage
        self._health = triage.health
        self._circuits = triage.circuits
        self._chores = triage.circuits.anew()
        self._refusals = Refusals()

    def session(
        self,
        session_id: str,
        permit: Permit,
        deadline: float | None = None,
        batches: int | None = None,
    ) -> Flow[bool]:
        """Put a session's pending writes back.

        Args:
            session_id: The session.
            permit: The caller's, to ask the primary.
            deadline: When the caller's time is up: nothing more is begun when half of it is gone.
                ``None`` for no such time.
            batches: At most so many requests; ``None`` for as many as it takes.

        Returns:
            Whether none is left: not so where another caller is at it, the time is up, or the
            primary refuses what it may yet take.

        Raises:
            StoreUnavailableError: The primary is away, or did not answer in time.
        """
        line = self._journal.claim(session_id)
        if line is None:
            return not self._journal.holds(session_id)
        try:
            yield from self._line(line, permit, deadline, batches)
        except StoreBusyError as error:
            self._wait_on(line, error)
        except StoreUnavailableError:
            raise
        except SessionStoreError as error:
            self._wait_on(line, error)
        finally:
            empty = self._journal.release(line)
            if empty:
                self._circuits.answered(session_id)
                self._chores.answered(session_id)
        if empty:
            yield from self._journal.sweep(_SWEPT)
        return empty

    def give_back(self, call: Ticket) -> None:
        """Let others try what a call was at that was broken off."""
        self._chores.give_back(call)

    def took_another(self) -> None:
        """Take note that the primary has taken a write: what it fails to take is that one's."""
        self._refusals.taken += 1

    def next_one(self, permit: Permit, deadline: float | None) -> Flow[None]:
        """Put one batch of the session back that has waited longest, and may be tried now.

        So all comes back in the end, and no caller pays for all that others have written.

        Args:
            permit: The caller's, to ask the primary.
            deadline: When the caller's time is up.
        """
        session_id = self._journal.next_waiting(self._is_left_alone)
        if session_id is not None and self._chores.enter(session_id):
            short = self._triage.deadline(_CHORE)
            deadline = min(filter(None, (short, deadline)), default=None)
            try:
                yield from self.session(session_id, permit, deadline, batches=1)
            except StoreTimeoutError:  # it had little time: its own callers may give it more
                self._chores.failed(session_id)
            except StoreUnavailableError as error:
                self._health.failed(permit, error)
            finally:
                self._chores.leave(session_id)
        yield from self._journal.sweep(_SWEPT)

    def _is_left_alone(self, session_id: str) -> bool:
        return self._circuits.is_open(session_id) or self._chores.is_open(session_id)

    def all(self, permit: Permit) -> Flow[None]:
        """Put everything back, but for the sessions that are not answered for.

        Raises:
            StoreUnavailableError: The primary is away.
        """
        for session_id in self._journal.waiting():
            if not self._circuits.enter(session_id, now=True):
                continue
            started = time.monotonic()
            try:
                yield from self.session(session_id, permit)
            except StoreTimeoutError as error:
                if permit.is_probe:
                    raise
                # Is it the session, or the store?
                yield self._primary, Ping()
                self._health.heard()
                self._triage.failed(session_id, permit, error, started, None)
            finally:
                self._circuits.leave(session_id)
        yield from self._journal.sweep()

    def _line(
        self, line: Line, permit: Permit, deadline: float | None, batches: int | None
    ) -> Flow[None]:
        begun, done = time.monotonic(), 0
        while done != batches and (batch := (yield from self._next_batch(line))):
            if done and deadline is not None and time.monotonic() - begun > (deadline - begun) / 2:
                return
            yield from self._batch(line, batch, permit, deadline)
            done += 1

    def _next_batch(self, line: Line) -> Flow[list[PendingWrite]]:
        try:
            ours = yield from self._journal.keep(line)
            if ours:
                yield from self._journal.note(line)
        except StoreUnavailableError as error:  # it is not the primary that is away
            raise SessionStoreError("the journal can't be read or written") from error
        return self._journal.next_batch(line) if ours else []

    def _batch(
        self, line: Line, batch: list[PendingWrite], permit: Permit, deadline: float | None
    ) -> Flow[None]:
        started = time.monotonic()
        try:
            yield from joined(batch).later(self._primary, deadline)
        except SessionStoreError as error:
            whole = self._triage.waited_all(started)
            if len(batch) > 1 and not isinstance(error, StoreUnavailableError):
                for write in batch:  # one of them is refused: which?
                    yield from self._batch(line, [write], permit, deadline)
                return
            if len(batch) > 1 or not self._refusals.is_final(batch[0].id, error, whole=whole):
                if not isinstance(error, (StoreConnectionError, StoreBusyError)):
                    line.most = max(1, len(batch) // 2)
                raise
            yield from self._set_aside(batch[0], error)
            taken = False
            self._journal.put_back(line, batch)
        else:
            self._journal.put_back(line, batch)
            self._journal.replayed += len(batch)
            line.most = min(2 * line.most, Line.MOST)
            self.took_another()
            taken = True
        self._health.heard()
        if taken or not permit.needs_write:
            self._triage.back(permit)
        for write in batch:
            self._refusals.forget(write.id)
        try:
            yield from self._journal.note(line)
        except StoreUnavailableError as error:
            raise SessionStoreError("the journal can't be written") from error

    def _set_aside(self, write: PendingWrite, error: SessionStoreError) -> Flow[None]:
        name = type(error).__name__
        yield from self._journal.reject(replace(write, reason=name))
        _logger.error("the store refused a write that waited for it: %s, see rejected()", name)

    def _wait_on(self, line: Line, error: SessionStoreError) -> None:
        self._circuits.failed(line.session_id)
        if not line.complained:
            line.complained = True
            _logger.warning("a session's writes wait on: %s", type(error).__name__)
