"""`Health`: whether a fallback's primary is there, and who may ask it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import datetime, timezone
from enum import Enum
from threading import RLock

import msgspec

from sessionstore._runtime.tickets import Ticket, is_within, task_ticket
from sessionstore.errors import (
    SessionStoreError,
    StoreReadOnlyError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.fallback.events import Events

__all__ = ["PING", "Access", "Health", "Permit"]

_logger = logging.getLogger("sessionstore")

PING = "\0ping"
"""What stands for a ping where sessions are told apart."""


class Access(Enum):
    """What a permit is for.

    Attributes:
        NORMAL: The primary is there.
        PROBE: It is away, and this caller alone tries whether it is back.
        WRITE_PROBE: The same; it took reads, but no writes: only a write tells that it is back.
    """

    NORMAL = "normal"
    PROBE = "probe"
    WRITE_PROBE = "write probe"


class Permit(msgspec.Struct):
    """A caller's permit to ask the primary.

    Attributes:
        outages: How many outages there had been when it was given.
        access: What it is for.
    """

    outages: int
    access: Access = Access.NORMAL

    @property
    def is_probe(self) -> bool:
        """Whether this caller alone tries whether the primary is back."""
        return self.access is not Access.NORMAL

    @property
    def needs_write(self) -> bool:
        """Whether only a write tells that the primary is back."""
        return self.access is Access.WRITE_PROBE


class Health:
    """Whether the primary is there, and who may ask it. Nobody waits for anybody here.

    Args:
        retry_after: How long after a failure the primary is tried again, in seconds. The time
            doubles with each try that fails, and with each outage that follows a shorter recovery.
        retry_cap: The longest time between two tries, in seconds.
        on_fallback: Called once an outage, with the error that began it.
        on_recover: Called once an outage, when the primary is back.
        primary: What the log calls it, by its `repr`.

    Attributes:
        events: What has happened, for whoever looks.
        degraded_since: When the primary was given up, in UTC; ``None`` while it is there.
        last_late: The session whose call has timed out, with no answer to anybody since.
    """

    def __init__(
        self,
        retry_after: float,
        retry_cap: float,
        on_fallback: Callable[[StoreUnavailableError], None] | None = None,
        on_recover: Callable[[], None] | None = None,
        primary: object = "the store",
    ) -> None:
        self._lock = RLock()  # reentrant, as the journal's
        self._retry_after = retry_after
        self._retry_cap = retry_cap
        self._on_fallback = on_fallback
        self._on_recover = on_recover
        self._primary = primary
        self._delay = retry_after
        self._next_probe = 0.0
        self._prober: Ticket | None = None
        self._reads_only = False
        self.last_late: str | None = None
        self._late_batch: object | None = None
        self._since: float | None = None
        self.events: Events = Events()
        self.degraded_since: datetime | None = None
        self._back_since = float("-inf")
        self._seconds = 0.0
        self.fallbacks: int = 0
        self.recoveries: int = 0
        self.probes: int = 0

    def fresh(self) -> Health:
        """Make one that knows of nothing, for the same primary and callbacks."""
        callbacks = self._on_fallback, self._on_recover
        return Health(self._retry_after, self._retry_cap, *callbacks, self._primary)

    @property
    def is_degraded(self) -> bool:
        """Whether the primary is away, as far as is known."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """For how long the primary was away, in all."""
        with self._lock:
            return self._seconds + self._away()

    def permit(self, *, now: bool = False, reads: bool = False) -> Permit | None:
        """Let a caller ask the primary: all while it is there, else one prober at a time.

        Args:
            now: Probe before it is time to.
            reads: The caller only reads: a primary that takes no writes still answers them.

        Returns:
            The permit, to be handed to `end`; ``None`` for those who are not to ask.
        """
        if self._since is None:
            return Permit(self.fallbacks)
        with self._lock:
            if self._since is None or (reads and self._reads_only):
                return Permit(self.fallbacks)
            if self._prober is not None or (time.monotonic() < self._next_probe and not now):
                return None
            self._prober = task_ticket()
            self.probes += 1
            access = Access.WRITE_PROBE if self._reads_only else Access.PROBE
            return Permit(self.fallbacks, access)

    def failed(self, permit: Permit, error: SessionStoreError) -> None:
        """Take note that the primary is away."""
        if not isinstance(error, StoreUnavailableError):
            _logger.error("%r refused to be probed: %r", self._primary, error)
        if self._is_new_outage(permit, error):
            self.events.add("degraded", type(error).__name__)
            msg = "%r is unavailable, the fallback answers: %r"
            _logger.warning(msg, self._primary, error)
            _tell(self._on_fallback, error)

    def timed_out(self, permit: Permit, session_id: str, error: StoreUnavailableError) -> None:
        """Take note that a session was not answered for in time.

        It is that session's own fault, such as a locked row or a huge reply, until another's call
        times out next, with no answer to anybody in between. Those that shared a batch count as
        one: they waited for one answer. A ping has no such excuse, but one of them may be unlucky.
        """
        batch = error.batch if isinstance(error, StoreTimeoutError) else None
        with self._lock:
            last, self.last_late = self.last_late, session_id
            together = batch is not None and self._late_batch is batch
            self._late_batch = batch
        alike = last is None or together or (last == session_id and session_id != PING)
        if not alike:
            self.failed(permit, error)

    def answered(self, permit: Permit) -> None:
        """End the outage, where this caller is the one who probes."""
        if permit.is_probe:
            self._end_outage(permit)
            self.events.add("recovered")
            _logger.info("%r is back", self._primary)
            _tell(self._on_recover)

    def end(self, permit: Permit) -> None:
        """Let another probe, where this one is over or was given up."""
        if permit.is_probe:
            self._prober = None

    def let_go(self, call: Ticket) -> None:
        """Let another probe, where a call that was broken off has not said that it is over."""
        if is_within(self._prober, call):
            self._prober = None

    def _is_new_outage(self, permit: Permit, error: SessionStoreError) -> bool:
        reads_only = isinstance(error, StoreReadOnlyError)
        with self._lock:
            now = time.monotonic()
            self.last_late = None
            if permit.is_probe:
                self._reads_only = reads_only
                self._delay = min(self._delay * 2, self._retry_cap)
            elif self._since is not None or permit.outages != self.fallbacks:
                self._reads_only = self._reads_only and reads_only
                return False  # an answer from before the last outage says nothing about now
            else:
                relapse = now - self._back_since < self._delay
                doubled = min(self._delay * 2, self._retry_cap)
                self._delay = doubled if relapse else self._retry_after
                began = datetime.now(timezone.utc)
                self._since, self.degraded_since, self._reads_only = now, began, reads_only
                self.fallbacks += 1
            jitter = 1 + random.random() / 4  # noqa: S311 - no secret
            self._next_probe = now + self._delay * jitter
            return not permit.is_probe

    def _end_outage(self, permit: Permit) -> None:
        with self._lock:
            self._seconds += self._away()
            self._since, self._back_since = None, time.monotonic()
            self.degraded_since = None
            self.recoveries += 1
            self.last_late, self._reads_only = None, False
            self._prober, permit.access = None, Access.NORMAL  # it goes on as everybody's
            permit.outages = self.fallbacks

    def _away(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since


def _tell(callback: Callable[..., None] | None, *arguments: object) -> None:
    if callback is not None:
        try:
            callback(*arguments)
        except Exception:  # a callback's fault is no reason to fail
            _logger.exception("a callback of the fallback failed")
