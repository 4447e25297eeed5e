"""psycopg connections that give up on a statement in time, whatever the server does.

The server's own ``statement_timeout`` would be state of the session, which PgBouncer hands on to
others, and a server that hangs keeps no time at all. So the client does: past the timeout it asks
for the statement to be cancelled, and leaves a server that does not even answer that.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Generator
from typing import Any, TypeVar

try:
    import psycopg
except ImportError as _error:
    raise ImportError(
        "PostgresAgentDb needs the postgres extra: pip install 'sessionstore[postgres]'"
    ) from _error

from sessionstore.deadline import deadline_after
from sessionstore.sql.unsettled import Backend, Place, note

__all__ = ["AsyncDeadlineConnection", "Clock", "DeadlineConnection"]

T = TypeVar("T")

_GRACE = 1.0  # seconds at most for the server to cancel a statement, and as long to say so
_LOOKS = 0.1  # seconds between two looks at the clock, at most
_LEAST = 0.005
_NOTHING_READY: Any = 0
_UNDER_WAY = (psycopg.pq.TransactionStatus.ACTIVE, psycopg.pq.TransactionStatus.UNKNOWN)


class _TooSlowError(psycopg.OperationalError):
    """The time is up; the statement still runs."""


def _require_uninterrupted(slow: _TooSlowError, pgconn: Any) -> None:
    """Raise what a caller was interrupted by: psycopg 3.2 waits for the server before it does."""
    cause = slow.__context__
    if isinstance(cause, (asyncio.CancelledError, KeyboardInterrupt)):
        pgconn.finish()
        raise cause


class Clock:
    """How long one exchange with the server may take; the last part of it is for cancelling.

    Attributes:
        statement_timeout: Seconds; ``None`` waits for as long as the call may take.
        place: What the database is known by here.
        backend: The server's process for this connection, where that is known.
        end: When the exchange that is under way must be over.
        limit: When it is to be cancelled.
    """

    statement_timeout: float | None = None
    place: Place = ()
    backend: Backend | None = None
    end: float = math.inf
    limit: float = math.inf

    def begin(self) -> float:
        """Begin an exchange, and tell how often to look at the clock."""
        end = deadline_after(self.statement_timeout)
        if end is None:
            self.end = self.limit = math.inf
            return _LOOKS
        left = max(0.0, end - time.monotonic())
        self.end, self.limit = end, end - min(_GRACE, left / 4)
        return max(_LEAST, min(_LOOKS, left / 10))

    def for_cancelling(self, seconds: float) -> float:
        """Give how long it may take to cancel, and let what is under way wait no longer."""
        now = time.monotonic()
        self.limit = min(self.end, now + 2 * _GRACE)
        return max(_LEAST, min(seconds, _GRACE, self.end - now))

    def note_unless_settled(self, pgconn: Any) -> None:
        """Remember a statement of which the server has not said what became of it."""
        if self.backend is not None and pgconn.transaction_status in _UNDER_WAY:
            note(self.place, self.backend)


class DeadlineConnection(psycopg.Connection[Any]):
    """A blocking connection whose every statement ends in time.

    Attributes:
        clock: How long it may take.
    """

    clock: Clock = Clock()

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Wait for an exchange with the server to end, as psycopg asks for it.

        Args:
            gen: The exchange.
            args: As psycopg has them.
            kwargs: As psycopg has them.

        Returns:
            What the exchange gave.

        Raises:
            psycopg.errors.QueryCanceled: It took too long, and the server ended it.
            psycopg.OperationalError: It took too long, and the server did not answer.
        """
        clock = self.clock
        interval = clock.begin()
        if not args:
            kwargs.setdefault("interval", interval)
        try:
            try:
                return super().wait(_within(clock, gen), *args, **kwargs)
            except _TooSlowError as slow:
                _require_uninterrupted(slow, self.pgconn)
            try:
                self.cancel_safe()
                return super().wait(_within(clock, gen, begun=True), *args, **kwargs)
            except psycopg.errors.QueryCanceled:
                raise
            except psycopg.Error:
                self.pgconn.finish()
                raise psycopg.OperationalError(_SILENT) from None
        except BaseException:
            clock.note_unless_settled(self.pgconn)
            raise

    def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Ask for the statement to be cancelled, and let it wait for that no longer than it may.

        Args:
            timeout: Seconds at most.
        """
        super().cancel_safe(timeout=self.clock.for_cancelling(timeout))

    def __del__(self, *_: Any) -> None:
        """End without psycopg's warning: who was interrupted while it opened leaves it so.

        Its end closes it in any case.
        """


class AsyncDeadlineConnection(psycopg.AsyncConnection[Any]):
    """The asyncio twin of `DeadlineConnection`.

    Attributes:
        clock: How long it may take.
    """

    clock: Clock = Clock()

    async def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Async twin of `DeadlineConnection.wait`."""
        clock = self.clock
        interval = clock.begin()
        if not args:
            kwargs.setdefault("interval", interval)
        try:
            try:
                return await super().wait(_within(clock, gen), *args, **kwargs)
            except _TooSlowError as slow:
                _require_uninterrupted(slow, self.pgconn)
            try:
                await self.cancel_safe()
                return await super().wait(_within(clock, gen, begun=True), *args, **kwargs)
            except psycopg.errors.QueryCanceled:
                raise
            except psycopg.Error:
                self.pgconn.finish()
                raise psycopg.OperationalError(_SILENT) from None
        except BaseException:
            clock.note_unless_settled(self.pgconn)
            raise

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Async twin of `DeadlineConnection.cancel_safe`."""
        await super().cancel_safe(timeout=self.clock.for_cancelling(timeout))

    def __del__(self, *_: Any) -> None:
        """End as `DeadlineConnection` does."""


_SILENT = "statement timeout expired, and the server did not answer the request to cancel"


def _within(
    clock: Clock, gen: Generator[Any, Any, T], *, begun: bool = False
) -> Generator[Any, Any, T]:
    """Pass an exchange through until its time is up, be the server silent or slow in what it says.

    psycopg looks in whenever something is ready, and after each interval.
    """
    try:
        wanted = gen.send(_NOTHING_READY if begun else None)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > clock.limit:
                raise _TooSlowError
            wanted = gen.send(ready)
            if time.monotonic() > clock.limit:
                raise _TooSlowError
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
