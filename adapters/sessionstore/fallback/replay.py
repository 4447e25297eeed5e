"""`Replay`: replays what a fallback has journaled."""

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
from sessionstore.fallback.batch import Batch
from sessionstore.fallback.entries import Entry
from sessionstore.fallback.health import Permit
from sessionstore.fallback.journal import Journal
from sessionstore.fallback.queue import PendingQueue
from sessionstore.fallback.refusals import Refusals
from sessionstore.fallback.replaying import replay_entry
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.fallback.triage import Triage
from sessionstore.operations import Ping
from sessionstore.store import SessionStore

__all__ = ["Replay"]

_logger = logging.getLogger("sessionstore")

# A caller who has nothing to do with a session gives its replay this part of the timeout.
_PART = 0.5
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
        self._in_passing = triage.circuits.fresh()
        self._refusals = Refusals()

    def session(
        self,
        session_id: str,
        permit: Permit,
        deadline: float | None = None,
        batches: int | None = None,
    ) -> FallbackFlow[bool]:
        """Replay a session's pending writes.

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
        queue = self._journal.claim(session_id)
        if queue is None:
            return not self._journal.holds(session_id)
        try:
            yield from self._queue(queue, permit, deadline, batches)
        except StoreBusyError as error:
            self._wait_on(queue, error)
        except StoreUnavailableError:
            raise
        except SessionStoreError as error:
            self._wait_on(queue, error)
        finally:
            empty = self._journal.release(queue)
            if empty:
                self._circuits.answered(session_id)
                self._in_passing.answered(session_id)
        if empty:
            yield from self._journal.obsolete.sweep(_SWEPT)
        return empty

    def let_go(self, call: Ticket) -> None:
        """Let others try what a call was at that was broken off."""
        self._in_passing.let_go(call)

    def took_another(self) -> None:
        """Take note that the primary has taken a write: what it fails to take is that one's."""
        self._refusals.taken += 1

    def next_one(self, permit: Permit, deadline: float | None) -> FallbackFlow[None]:
        """Replay one batch of the session that has waited longest, and may be tried now.

        So all is replayed in the end, and no caller pays for all that others have written.

        Args:
            permit: The caller's, to ask the primary.
            deadline: When the caller's time is up.
        """
        session_id = self._journal.next_waiting(self._is_left_alone)
        if session_id is not None and self._in_passing.enter(session_id):
            short = self._triage.deadline(_PART)
            deadline = min(filter(None, (short, deadline)), default=None)
            try:
                yield from self.session(session_id, permit, deadline, batches=1)
            except StoreTimeoutError:  # it had little time: its own callers may give it more
                self._in_passing.failed(session_id)
            except StoreUnavailableError as error:
                self._health.failed(permit, error)
            finally:
                self._in_passing.leave(session_id)
        yield from self._journal.obsolete.sweep(_SWEPT)

    def _is_left_alone(self, session_id: str) -> bool:
        return self._circuits.is_open(session_id) or self._in_passing.is_open(session_id)

    def all(self, permit: Permit) -> FallbackFlow[None]:
        """Replay everything, but for the sessions that are not answered for.

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
                yield from ask(self._primary, Ping())
                self._triage.heard(None)
                self._triage.failed(session_id, permit, error, started, None)
            finally:
                self._circuits.leave(session_id)
        yield from self._journal.obsolete.sweep()

    def _queue(
        self, queue: PendingQueue, permit: Permit, deadline: float | None, batches: int | None
    ) -> FallbackFlow[None]:
        begun, done = time.monotonic(), 0
        while done != batches and (batch := (yield from self._next_batch(queue))):
            if done and deadline is not None and time.monotonic() - begun > (deadline - begun) / 2:
                return
            yield from self._batch(queue, batch, permit, deadline)
            done += 1

    def _next_batch(self, queue: PendingQueue) -> FallbackFlow[Batch | None]:
        try:
            ours = yield from self._journal.keep(queue)
            if ours:
                yield from self._journal.note(queue)
        except StoreUnavailableError as error:  # it is not the primary that is away
            raise SessionStoreError("the journal can't be read or written") from error
        return self._journal.next_batch(queue) if ours else None

    def _batch(
        self, queue: PendingQueue, batch: Batch, permit: Permit, deadline: float | None
    ) -> FallbackFlow[None]:
        started = time.monotonic()
        try:
            yield from replay_entry(batch.entry, self._primary, deadline)
        except SessionStoreError as error:
            whole = self._triage.waited_all(started)
            if batch.size > 1 and not isinstance(error, StoreUnavailableError):
                for each in batch.split():  # one of them is refused: which?
                    yield from self._batch(queue, each, permit, deadline)
                return
            if batch.size > 1 or not self._refusals.is_final(batch.ids[0], error, whole=whole):
                if not isinstance(error, (StoreConnectionError, StoreBusyError)):
                    queue.most = max(1, batch.size // 2)
                raise
            yield from self._set_aside(batch.entry, error)
            taken = False
            self._journal.mark_done(queue, batch)
        else:
            self._journal.mark_done(queue, batch)
            self._journal.replayed += batch.size
            queue.most = min(2 * queue.most, PendingQueue.MOST)
            self.took_another()
            self._health.events.add("replayed", count=batch.size)
            taken = True
        self._triage.heard(None)
        if taken or not permit.needs_write:
            self._triage.back(permit)
        for entry_id in batch.ids:
            self._refusals.forget(entry_id)
        try:
            yield from self._journal.note(queue)
        except StoreUnavailableError as error:
            raise SessionStoreError("the journal can't be written") from error

    def _set_aside(self, entry: Entry, error: SessionStoreError) -> FallbackFlow[None]:
        name = type(error).__name__
        yield from self._journal.rejected.set_aside(replace(entry, reason=name))
        _logger.error("the store refused a write that waited for it: %s, see rejected()", name)

    def _wait_on(self, queue: PendingQueue, error: SessionStoreError) -> None:
        self._circuits.failed(queue.session_id)
        if not queue.warned:
            queue.warned = True
            _logger.warning("a session's writes keep waiting: %s", type(error).__name__)
