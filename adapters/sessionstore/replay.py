"""`Replay`: puts back what a fallback has taken in."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from sessionstore.errors import (
    CorruptMessageError,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionNotFoundError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.flow import Flow
from sessionstore.health import Health, Turn
from sessionstore.journal import Journal
from sessionstore.line import Line
from sessionstore.standby import Standby
from sessionstore.store import SessionStore
from sessionstore.writes import PendingWrite, joined

__all__ = ["Replay"]

_logger = logging.getLogger("sessionstore")

# What a primary answers to a write that it will never take. All else may pass: a full disk, say.
_REFUSALS = (
    CorruptMessageError,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionNotFoundError,
)


class Replay:
    """Carries the journal's writes out on the primary, a session by one caller at a time.

    Args:
        primary: Where they go.
        journal: Where they are.
        standby: Lets go of a session when all of its writes are back.
        health: Is told how the primary answers.
    """

    def __init__(
        self, primary: SessionStore, journal: Journal, standby: Standby, health: Health
    ) -> None:
        self._primary = primary
        self._journal = journal
        self._standby = standby
        self._health = health

    def session(self, session_id: str, turn: Turn, batches: int | None = None) -> Flow[bool]:
        """Put a session's pending writes back.

        Args:
            session_id: The session.
            turn: The caller's leave to ask the primary.
            batches: At most so many requests; ``None`` for as many as it takes.

        Returns:
            Whether none is left: not so where another caller is at it, or the primary refuses
            what it may yet take.

        Raises:
            StoreUnavailableError: The primary is away.
        """
        line = self._journal.claim(session_id)
        if line is None:
            return not self._journal.holds(session_id)
        try:
            yield from self._line(line, turn, batches)
        except StoreUnavailableError:
            raise
        except SessionStoreError as error:
            self._complain(line, error)
        finally:
            empty = self._journal.release(line)
            if empty:
                self._standby.unpin(session_id)
        if empty:
            yield from self._journal.sweep()
        return empty

    def next_one(self, turn: Turn) -> Flow[None]:
        """Put one batch of the session back that has waited longest.

        So all comes back in the end, and no caller pays for all that others have written.
        """
        session_id = self._journal.next_waiting()
        try:
            if session_id is not None:
                yield from self.session(session_id, turn, batches=1)
        except StoreUnavailableError as error:
            self._health.failed(turn, error)
        yield from self._journal.sweep()

    def all(self, turn: Turn) -> Flow[None]:
        """Put everything back."""
        for session_id in self._journal.waiting():
            yield from self.session(session_id, turn)
        yield from self._journal.sweep()

    def _line(self, line: Line, turn: Turn, batches: int | None) -> Flow[None]:
        done = 0
        while done != batches and (batch := (yield from self._next_batch(line))):
            yield from self._batch(line, batch, turn)
            done += 1

    def _next_batch(self, line: Line) -> Flow[list[PendingWrite]]:
        ours = yield from self._kept(line)
        return self._journal.next_batch(line) if ours else []

    def _kept(self, line: Line) -> Flow[bool]:
        try:
            return (yield from self._journal.keep(line))
        except StoreUnavailableError as error:  # it is not the primary that is away
            raise SessionStoreError("the journal can't be read: its writes wait on") from error

    def _batch(self, line: Line, batch: list[PendingWrite], turn: Turn) -> Flow[None]:
        try:
            yield from joined(batch).later(self._primary)
        except _REFUSALS as error:
            self._health.answered(turn)
            if len(batch) > 1:  # one of them is refused: which?
                for write in batch:
                    yield from self._batch(line, [write], turn)
                return
            name = type(error).__name__
            yield from self._journal.reject(replace(batch[0], reason=name))
            _logger.error("the store refused a write that waited for it: %s, see rejected()", name)
        else:
            self._health.answered(turn)
            self._journal.replayed += len(batch)
        yield from self._journal.put_back(line, batch)

    def _complain(self, line: Line, error: SessionStoreError) -> None:
        if not line.complained:
            line.complained = True
            _logger.warning("a session's writes wait on: %s", type(error).__name__)
