"""The commands of one event loop that are ready at the same moment go together."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable
from contextvars import Context
from typing import Any, Protocol

import redis

from sessionstore.redis.asked import (
    CLOSED,
    LATE,
    MOST,
    MOST_BYTES,
    LargeReplies,
    LateTogetherError,
    NotSentError,
    twin_of,
)
from sessionstore.redis.requests import Command, Words
from sessionstore.redis.timed import left

__all__ = ["Asked", "AsyncBatches", "AsyncWay"]

_AT_ONCE = 4
"""How many connections are in use before others wait for their replies."""


class Asked:
    """A command, and its caller, who waits for the reply.

    Args:
        command: The command.
        size: Its bytes.
        began: When it was asked, of `time.monotonic`.
        ends: When its time is up.
        reply: Where the caller waits.

    Attributes:
        batch: What stands for it and those that it was sent with; ``None`` until then.
    """

    __slots__ = ("batch", "began", "command", "ends", "reply", "size")

    def __init__(
        self, command: Command, size: int, began: float, ends: float, reply: asyncio.Future[Any]
    ) -> None:
        """Wait."""
        self.command: Command = command
        self.size: int = size
        self.began: float = began
        self.ends: float = ends
        self.reply: asyncio.Future[Any] = reply
        self.batch: object | None = None

    def answer(self, reply: Any) -> None:
        """Hand the reply on, or the error. Whoever was cancelled, or is late, has gone."""
        if self.reply.done():
            return
        if isinstance(reply, BaseException):
            self.reply.set_exception(reply.with_traceback(None))
        else:
            self.reply.set_result(reply)

    def give_up(self) -> None:
        """Tell the caller that the time is up."""
        late = self.batch is not None
        self.answer(LateTogetherError(self.batch) if late else NotSentError(self.began))


class AsyncWay(Protocol):
    """How commands get to a server and back."""

    async def send(self, words: Words) -> Any:
        """Send one command, and give its reply."""

    async def together(self, batch: list[Asked], *, is_fresh: bool) -> None:
        """Send those of several callers, and answer each as its reply comes.

        Args:
            batch: What they ask.
            is_fresh: By a new connection: those that wait may hang as others do.
        """


class _Flight:
    """What is on its way by one connection."""

    __slots__ = ("batch", "is_late", "is_starting", "since", "task")

    def __init__(self, since: float) -> None:
        self.since = since
        self.is_late = self.is_starting = False
        self.batch: list[Asked] = []
        self.task: asyncio.Task[None] | None = None


class AsyncBatches:
    """Commands that wait while others are on their way, and then go together.

    Whoever comes while nothing is on its way goes at once. A connection whose replies are late
    holds nobody up: after a moment, those that wait take another one.

    Args:
        way: How they go.
        permits: One for each connection that may be in use.
        timeout: How long a command may take, in seconds; ``None`` is for as long as the call.

    Attributes:
        large: Which replies may be large: what asks for one is not for `send`.
    """

    def __init__(self, way: AsyncWay, permits: asyncio.Semaphore, timeout: float | None) -> None:
        """Belong to the running loop; nothing is on its way yet."""
        self.large: LargeReplies = LargeReplies()
        self._way = way
        self._permits = permits
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Asked] = deque()
        self._flights: set[_Flight] = set()
        self._busy = self._starting = 0
        self._watch: asyncio.TimerHandle | None = None
        self._looks_at = math.inf

    def is_idle(self) -> bool:
        """Tell whether nothing is on its way."""
        return not (self._busy or self._waiting)

    def send(self, command: Command, size: int) -> Awaitable[Any]:
        """Send a command, by itself or with others.

        Args:
            command: One that may go with others.
            size: Its bytes, as `shared_sizes` gives them.

        Returns:
            What gives its reply. An error of the server is raised.
        """
        if self._busy or self._waiting or self._permits.locked():
            return self._in_company(command, size)
        return self._alone(command)

    async def _alone(self, command: Command) -> Any:
        await self._permits.acquire()
        flight = self._start(time.monotonic())
        try:
            return await self._way.send(command.words)
        finally:
            self._permits.release()
            self._end(flight)

    def _in_company(self, command: Command, size: int) -> asyncio.Future[Any]:
        seconds, now = left(self._timeout), time.monotonic()
        ends = math.inf if seconds is None else now + seconds
        asked = Asked(command, size, now, ends, self._loop.create_future())
        self._waiting.append(asked)
        self._depart()
        if self._watch is None or ends < self._looks_at:
            self._look_at(min(now + LATE, ends))
        return asked.reply

    def _depart(self, *, is_fresh: bool = False) -> None:
        """Send what waits, in the next step of the loop, unless enough is about to leave."""
        if self._busy >= _AT_ONCE or len(self._waiting) <= MOST * self._starting:
            return
        self._starting += 1
        flight = self._start(math.inf)
        flight.is_starting = True
        # Not in the context of whoever is here by chance: that has a deadline of its own.
        flight.task = Context().run(self._loop.create_task, self._carry(flight, is_fresh))
        # Not a `finally`: whoever cancels all tasks of a loop may do it before this one has begun.
        flight.task.add_done_callback(lambda _: self._end(flight))

    def _start(self, since: float) -> _Flight:
        flight = _Flight(since)
        self._flights.add(flight)
        self._busy += 1
        return flight

    def _end(self, flight: _Flight) -> None:
        self._flights.discard(flight)
        self._starting -= flight.is_starting
        if not flight.is_late:
            self._busy -= 1
        if not self._loop.is_closed():
            for asked in flight.batch:  # all are answered, unless the loop ends
                asked.answer(redis.ConnectionError(CLOSED))
            self._depart()

    async def _carry(self, flight: _Flight, is_fresh: bool) -> None:
        """Carry out what waits, one batch after the other, until nothing does."""
        try:
            async with self._permits:
                self._starting, flight.is_starting = self._starting - 1, False
                while self._load(flight):
                    await self._way.together(flight.batch, is_fresh=is_fresh)
                    is_fresh = False
                    await asyncio.sleep(0)  # who was answered asks again in this step of the loop
                    if flight.is_late:
                        break
        except redis.TimeoutError:
            for asked in flight.batch:
                asked.give_up()
        except Exception as error:  # noqa: BLE001 - handed to each caller
            for asked in flight.batch:
                asked.answer(twin_of(error))

    def _load(self, flight: _Flight) -> bool:
        flight.batch = batch = list[Asked]()
        flight.since = time.monotonic()
        size, together = 0, object()
        while self._waiting and len(batch) < MOST and size <= MOST_BYTES:
            asked = self._waiting.popleft()
            if not asked.reply.done():
                asked.batch = together
                size += asked.size
                batch.append(asked)
        return bool(batch)

    def _look_at(self, when: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._looks_at = when
        self._watch = self._loop.call_later(when - time.monotonic(), self._look)

    def _look(self) -> None:
        """Give up what is over time, and have those behind a late connection take another."""
        self._watch, now, next_look = None, time.monotonic(), math.inf
        for flight in self._flights:
            if not flight.is_late and flight.since + LATE <= now:
                flight.is_late = True
                self._busy -= 1
        for asked in (*self._waiting, *(one for flight in self._flights for one in flight.batch)):
            if asked.ends <= now:
                asked.give_up()
            elif not asked.reply.done():
                next_look = min(next_look, asked.ends, now + LATE)
        self._depart(is_fresh=True)
        if next_look < math.inf:
            self._look_at(next_look)
