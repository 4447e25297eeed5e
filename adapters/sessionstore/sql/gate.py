"""Who may use a connection of a pool now: in turn, in time, and no session more than its share."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from threading import Lock, RLock

from sqlalchemy.exc import SQLAlchemyError

from sessionstore._runtime.tickets import Ticket
from sessionstore.deadline import deadline_after, remaining
from sessionstore.errors import (
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreTimeoutError,
)
from sessionstore.sql.errors import is_answer, is_timeout, translated
from sessionstore.sql.in_time import TooLittleTimeError

__all__ = ["Gate", "OneAtATime"]

_SHOWING = (SQLAlchemyError, OSError, asyncio.TimeoutError, StoreTimeoutError)
_SHARES = 3  # how many sessions that are stuck it takes to use a pool up
# A pool is too small for a crowd where, for most of the time that a call may take, it waited while
# others were answered: from soon after it came, without a pause, each place several times over.
_MOST, _START, _PAUSE, _TURNS = 0.5, 0.25, 0.1, 2


class OneAtATime(str):
    """What stands for a session that only one call at a time may be at."""

    __slots__ = ()


class Gate:
    """Stands before a pool, so that whoever passes finds a connection there or opens one.

    A pool by itself waits for a time of its own, whatever is left of the call; calls on one
    session that is locked would use it up for everybody; and it can't tell whether the others
    that use it are answered.

    One step of a dictionary takes a place and notes whose it is, so that `give_back` finds what a
    call holds that a Ctrl-C broke off between any two steps.

    Args:
        size: How many may pass at a time.
        timeout: How long a call waits at most, in seconds.

    Attributes:
        size: As given.
    """

    def __init__(self, size: int, timeout: float) -> None:
        self.size: int = size
        self._share = max(1, size // _SHARES)
        self._timeout = timeout
        # Reentrant, since the collector may end a turn in here that uses the same database.
        self._lock = RLock()
        self._inside: dict[Ticket, Hashable | None] = {}
        self._waiting: deque[_Waiting] = deque()
        self._answers = _Answers()
        self._answers_on: dict[Hashable, _Answers] = {}
        self._failure, self._failed = "", float("-inf")

    @property
    def used(self) -> int:
        """How many have passed and not left yet."""
        return len(self._inside)

    def try_enter(self, session: Hashable | None, place: Ticket) -> bool:
        """Pass, if that is possible at once.

        Args:
            session: What the call is about; ``None`` for no one session. Reads and writes of one
                are two: readers do not wait for locks.
            place: A ticket that the call has drawn: what `leave` and `give_back` must be given.

        Returns:
            Whether it was.
        """
        with self._lock:
            return self._enter(session, place)

    def enter(self, session: Hashable | None, place: Ticket) -> None:
        """Pass as soon as it is possible.

        Args:
            session: As for `try_enter`.
            place: As for `try_enter`.

        Raises:
            StoreUnavailableError: It was not, in time.
        """
        # No event: the collector may come in while that holds its own lock, and have it set.
        granted = Lock()
        granted.acquire()
        waiting = self._queued(session, place, granted.release)
        if not waiting.granted:
            left = waiting.left()
            try:
                granted.acquire(timeout=-1 if left is None else left)
            except BaseException:
                self._withdraw(waiting)
                raise
            self._require_granted(waiting)

    async def aenter(self, session: Hashable | None, place: Ticket) -> None:
        """Async twin of `enter`."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        waiting = self._queued(session, place, wake)
        if not waiting.granted:
            left = waiting.left()
            timer = None if left is None else loop.call_later(left, wake)
            try:
                await woken  # asyncio.wait_for would take a cancelled one for granted at times
            except BaseException:
                self._withdraw(waiting)
                raise
            finally:
                if timer:
                    timer.cancel()
            self._require_granted(waiting)

    def leave(self, place: Ticket, *, answered: bool, in_time: bool = True) -> None:
        """Let the next one pass.

        Args:
            place: The ticket with which it was entered.
            answered: The database has answered.
            in_time: It was not for its time that the call ended.
        """
        with self._lock:
            session = self._inside.pop(place, None)
            if answered:
                self._answers.note(self._timeout * _PAUSE)
            if session is not None:
                if session not in self._inside.values():
                    self._answers_on.pop(session, None)
                elif answered and in_time:
                    self._answers_on.setdefault(session, _Answers()).note(self._timeout * _PAUSE)
            if self._waiting:
                self._grant_next()

    def leave_failed(self, place: Ticket, began: float | None, error: BaseException) -> None:
        """Leave after a call that failed, with what that has shown of the database.

        Args:
            place: As for `leave`.
            began: When the call began to wait here; ``None`` where it did not wait.
            error: How the call ended.

        Raises:
            StoreConnectionError: The call had too little time left, after a wait here in which
                nobody was answered: that is the database's fault.
        """
        answered = in_time = True
        try:
            if isinstance(error, _SHOWING):
                answered, in_time = is_answer(error), not is_timeout(error)
                if not answered:
                    self.failed(str(translated(error)))
            elif not isinstance(error, SessionStoreError):
                answered = False
        finally:
            self.leave(place, answered=answered, in_time=in_time)
        if isinstance(error, TooLittleTimeError) and began is not None:
            self.require_answer(began)

    def require_answer(self, since: float) -> None:
        """Refuse a call that has waited here, where nobody was answered meanwhile.

        Args:
            since: When it began to wait, of `time.monotonic`.

        Raises:
            StoreConnectionError: Nobody was.
        """
        if self._answers.last < since:
            raise self._away()

    def give_back(self, place: Ticket) -> None:
        """Take back the place that a call has, or waits for, which Ctrl-C broke off.

        Args:
            place: The call's ticket.
        """
        with self._lock:
            for waiting in list(self._waiting):
                if waiting.place == place:
                    self._wait_no_more(waiting)
            self._inside.pop(place, None)
            while self._grant_next():  # nobody may have come to it where a place was left
                pass

    def failed(self, words: str) -> None:
        """Note why the database could not be reached, for those who wait in vain.

        Args:
            words: Nothing that is secret.
        """
        self._failure, self._failed = words, time.monotonic()

    def _enter(self, session: Hashable | None, place: Ticket) -> bool:
        inside = self._inside
        if len(inside) >= self.size or (inside and self._is_crowded(session)):
            return False
        inside[place] = session
        return True

    def _is_crowded(self, session: Hashable | None) -> bool:
        if session is None:
            return False
        share = self._share_of(session)
        return len(self._inside) >= share and list(self._inside.values()).count(session) >= share

    def _share_of(self, session: Hashable) -> int:
        return 1 if isinstance(session, OneAtATime) else self._share

    def _queued(
        self, session: Hashable | None, place: Ticket, wake: Callable[[], object]
    ) -> _Waiting:
        remaining(None)  # a call without time left does not blame the database
        waiting = _Waiting(session, place, wake, deadline_after(self._timeout))
        with self._lock:
            waiting.granted = self._enter(session, place)
            if not waiting.granted:
                waiting.answers = self._answers.count
                waiting.answers_on = self._on(session).count
                self._waiting.append(waiting)
                if self._enter(session, place):  # one has left since that saw nobody wait
                    waiting.granted = True
                    self._wait_no_more(waiting)
        return waiting

    def _on(self, session: Hashable | None) -> _Answers:
        return self._answers_on.get(session) or _Answers()

    def _grant_next(self) -> bool:
        if len(self._inside) < self.size:
            for waiting in list(self._waiting):
                if self._enter(waiting.session, waiting.place):
                    waiting.granted = True
                    if self._wait_no_more(waiting):
                        waiting.wake()
                        return True
                    self._inside.pop(waiting.place, None)  # it was withdrawn just now
        return False

    def _withdraw(self, waiting: _Waiting) -> None:
        with self._lock:
            self._wait_no_more(waiting)
        if waiting.granted:
            self.leave(waiting.place, answered=False)

    def _wait_no_more(self, waiting: _Waiting) -> bool:
        with suppress(ValueError):
            self._waiting.remove(waiting)
            return True
        return False

    def _require_granted(self, waiting: _Waiting) -> None:
        with self._lock:
            self._wait_no_more(waiting)
            if waiting.granted or waiting.place in self._inside:  # a Ctrl-C came in between there
                return
            refusal = self._refusal(waiting)
        raise refusal

    def _refusal(self, waiting: _Waiting) -> SessionStoreError:
        if len(self._inside) < self.size:  # it is its own session that it has waited for
            on, share = self._on(waiting.session), self._share_of(waiting.session)
            if self._is_crowd(waiting, on, on.count - waiting.answers_on, share):
                return StoreBusyError("too many calls on this session at once: try again")
            return StoreTimeoutError("the calls on this session before this one got no answer")
        answers = self._answers.count - waiting.answers
        if self._is_crowd(waiting, self._answers, answers, self.size):
            return StoreBusyError("all connections of the pool are in use: try again")
        if answers or not self._has_waited(waiting):
            return StoreTimeoutError(
                "the calls before this one get no answer any more, or too late"
            )
        return self._away()

    def _away(self) -> StoreConnectionError:
        last = f"; the last failure: {self._failure}" if self._failure else ""
        words = "all connections of the pool are in use, and the database answers nobody"
        return StoreConnectionError(words + last)

    def _is_crowd(self, waiting: _Waiting, told: _Answers, answers: int, places: int) -> bool:
        """Tell whether those before this one are answered: all, without a pause, up to now.

        Who waits when the database falls silent, or comes back, was there before or is after that:
        somebody was answered meanwhile. In such a doubt it is not called busy.
        """
        now = time.monotonic()
        is_told_now = told.last >= now - self._timeout * _PAUSE
        is_told_all_along = told.since <= waiting.since + (now - waiting.since) * _START
        none_failed = self._failed < waiting.since
        is_served = is_told_now and is_told_all_along and none_failed
        return is_served and answers >= _TURNS * places and self._has_waited(waiting)

    def _has_waited(self, waiting: _Waiting) -> bool:
        """Tell whether it was here that most of its time was spent."""
        return time.monotonic() - waiting.since >= self._timeout * _MOST


class _Answers:
    __slots__ = ("count", "last", "since")

    def __init__(self) -> None:
        self.count, self.last = 0, float("-inf")
        self.since = float("inf")

    def note(self, longest_pause: float) -> None:
        now = time.monotonic()
        if now - self.last > longest_pause:
            self.since = now
        self.count, self.last = self.count + 1, now


class _Waiting:
    __slots__ = (
        "_deadline",
        "answers",
        "answers_on",
        "granted",
        "place",
        "session",
        "since",
        "wake",
    )

    def __init__(
        self,
        session: Hashable | None,
        place: Ticket,
        wake: Callable[[], object],
        deadline: float | None,
    ) -> None:
        self.session, self.place, self.wake, self._deadline = session, place, wake, deadline
        self.since, self.granted = time.monotonic(), False
        self.answers = self.answers_on = 0

    def left(self) -> float | None:
        """Give how long it may still wait."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
