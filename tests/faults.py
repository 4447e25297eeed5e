"""A store that fails on command: the only way to place a fault exactly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sessionstore import (
    InMemorySessionStore,
    SessionStore,
    StoreBusyError,
    StoreReadOnlyError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.operations import Operation

T = TypeVar("T")


class Killed(BaseException):
    """What a cancelled task or a Ctrl-C raises: nothing catches it."""


class FaultyStore(SessionStore):
    """Passes all on to another store, unless it is told to fail.

    ``fault`` is asked before each request: ``None`` lets it pass, ``"down"`` fails before it is
    done, ``"lost"`` does it and loses the answer, ``"killed"`` and ``"killed after"`` end the
    caller before and after it, ``"late"`` fails and keeps it back until `arrive`. ``meanwhile`` is
    called once, before the next request, and ``afterwards`` once, before its answer.
    """

    def __init__(self, inner: SessionStore) -> None:
        self.inner = inner
        self.fault: Callable[[], str | None] = lambda: None
        self.meanwhile: Callable[[], object] | None = None
        self.afterwards: Callable[[], object] | None = None
        self.asynchronously: Callable[[], Awaitable[object]] | None = None
        self.requests = 0
        # Sessions whose requests, and no others, meet this error; and the names of those requests.
        self.slow: dict[str, Exception] = {}
        self.writes_fail: Exception | None = None
        self.asked: list[tuple[str, object]] = []
        self.left: list[str | None] = []
        self.late: list[Operation[object]] = []
        # Called with each operation of a class before it is done: what it raises is raised.
        self.before: dict[type, Callable[[Any], object]] = {}

    def __repr__(self) -> str:
        return f"FaultyStore({self.inner!r})"

    @property
    def fault_is_on(self) -> bool:
        """Whether a script of faults goes on."""
        return bool(self.left)

    def go_down(self) -> None:
        self.fault = lambda: "down"

    def lose_answers(self) -> None:
        self.fault = lambda: "lost"

    def come_back(self) -> None:
        self.fault, self.left, self.writes_fail = (lambda: None), [], None
        self.slow.clear()

    def take_no_writes(self) -> None:
        self.writes_fail = StoreReadOnlyError("the store is a replica")

    def script(self, *faults: str | None, then: str | None = None) -> None:
        """Fail so at the next requests, then on as told."""
        left = self.left = list(faults)
        self.fault = lambda: left.pop(0) if left else then

    def arrive(self) -> None:
        """Do what was kept back."""
        for operation in self.late:
            self.inner.run(operation)

    # One in memory stands for a server: that outlives what its clients open and close.

    def close(self) -> None:
        if not isinstance(self.inner, InMemorySessionStore):
            self.inner.close()

    async def aclose(self) -> None:
        if not isinstance(self.inner, InMemorySessionStore):
            await self.inner.aclose()

    def run(self, operation: Operation[T]) -> T:
        fault = self._begin(operation)
        result = self.inner.run(operation)
        self._end(fault)
        return result

    async def arun(self, operation: Operation[T]) -> T:
        if self.asynchronously is not None:
            await self.asynchronously()
        fault = self._begin(operation)
        result = await self.inner.arun(operation)
        self._end(fault)
        return result

    def _begin(self, operation: Operation[Any]) -> str | None:
        self.requests += 1
        self._call("meanwhile")
        fault = self.fault()
        if fault == "down":
            raise StoreUnavailableError("the store is down")
        if fault == "slow":
            raise StoreTimeoutError("the store did not answer in time")
        if fault == "busy":
            raise StoreBusyError("the store is busy")
        if fault == "late":
            self.late.append(operation)
            raise StoreUnavailableError("the store is too slow")
        if fault == "killed":
            raise Killed
        self.asked.append((type(operation).__name__, operation.about))
        if error := self.slow.get(str(operation.about)):
            raise error
        if self.writes_fail and operation.is_write:
            raise self.writes_fail
        if before := self.before.get(type(operation)):
            before(operation)
        return fault

    def _end(self, fault: str | None) -> None:
        self._call("afterwards")
        if fault == "lost":
            raise StoreUnavailableError("the answer was lost")
        if fault == "killed after":
            raise Killed

    def _call(self, name: str) -> None:
        step, _ = getattr(self, name), setattr(self, name, None)
        if step is not None:
            step()
