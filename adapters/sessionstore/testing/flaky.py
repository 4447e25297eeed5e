"""`FlakySessionStore`: a store that fails on purpose, so that you can test what your code does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Literal, TypeAlias, TypeVar, overload

import msgspec

from sessionstore.deadline import deadline_after
from sessionstore.errors import StoreConnectionError, StoreTimeoutError
from sessionstore.memory import InMemorySessionStore
from sessionstore.operations import Operation, Several
from sessionstore.store import SessionStore
from sessionstore.wrapper import WrapperSessionStore, as_operation

__all__ = ["Failure", "FlakySessionStore", "Which"]

T = TypeVar("T")

Failure: TypeAlias = BaseException | type[BaseException]
"""An error to raise, or the class of one that takes a text: then each failure is a new one."""

Which: TypeAlias = (
    type[Operation[Any]]
    | tuple[type[Operation[Any]], ...]
    | Literal["reads", "writes"]
    | Callable[[Operation[Any]], bool]
    | None
)
"""Which operations a fault is for: one class of `sessionstore.operations` or several of them,
``"reads"``, ``"writes"``, a function that is given the operation and tells, or ``None`` for all."""

_TEXT = "the store fails on purpose: it is a FlakySessionStore"
_LATE = "too slow, on purpose: it is a FlakySessionStore"
_LOST = "the answer is lost on purpose, though the work was done: it is a FlakySessionStore"


class _Fault(msgspec.Struct):
    which: Which
    skip: int
    left: int | None
    failure: Failure | None = None
    seconds: float = 0.0
    is_lost: bool = False

    def meets(self, operation: Operation[Any]) -> bool:
        """Tell whether this operation meets the fault, which is one fewer left then."""
        if self.left == 0 or not _is_for(self.which, operation):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True


class FlakySessionStore(WrapperSessionStore):
    """A store that fails on purpose, in the way and at the moment that your test chooses.

    It hands every operation on to the store that it wraps, until it is told to fail. What it is
    told holds for sync and async calls, from any thread. Nothing is random: the same calls meet the
    same faults. Several faults add up, in the order in which they were set: a call fails once, by
    the first one that is for it, and waits for all that hold it back.

    As the primary of a `FallbackSessionStore` it shows how your application goes through an outage:
    see the second example. There, a ``get_messages`` may reach it as a ``Get``, and a try whether
    it is back as a ``Ping``: say ``on="reads"`` or ``on="writes"``.

    Example:
        A call that fails, and its retry::

            >>> from sessionstore import StoreConnectionError
            >>> from sessionstore.testing import FlakySessionStore
            >>> store = FlakySessionStore()
            >>> store.fail_next()
            >>> try:
            ...     store.append_message("s1", {"role": "user", "content": "Hello!", "id": "m1"})
            ... except StoreConnectionError:
            ...     store.append_message("s1", {"role": "user", "content": "Hello!", "id": "m1"})
            1

        An outage, with a fallback above it::

            >>> from sessionstore import FallbackSessionStore
            >>> server = FlakySessionStore()
            >>> store = FallbackSessionStore(server, retry_after=0)
            >>> with server.outage():
            ...     _ = store.append_message("s1", {"role": "user", "content": "Hello!"})
            ...     store.is_degraded(), len(store.get_messages("s1"))
            (True, 1)
            >>> store.recover(), len(server.get_messages("s1"))
            (True, 1)

    Args:
        store: The store to wrap; one in memory when none is given.
        timeout: How long a call may take, in seconds, as a server's client would say it: a call
            that `slow` holds back for longer raises `StoreTimeoutError` when that time is over.
            That of the wrapped store when none is given.

    Raises:
        TypeError: ``store`` is not a store.
    """

    def __init__(self, store: SessionStore | None = None, *, timeout: float | None = None) -> None:
        """Wrap a store, and fail at nothing yet."""
        super().__init__(InMemorySessionStore() if store is None else store)
        self._timeout = timeout
        self._lock = Lock()
        self._faults: list[_Fault] = []
        self._down: list[_Fault] = []
        self._operations: list[Operation[Any]] = []
        self._failures = 0

    @property
    def timeout(self) -> float | None:
        """How long a call may take, in seconds; ``None`` where nothing bounds it."""
        return super().timeout if self._timeout is None else self._timeout

    @property
    def operations(self) -> list[Operation[Any]]:
        """What it was asked for until now, in order, whether it failed or not."""
        return list(self._operations)

    @property
    def failures(self) -> int:
        """How many calls it has failed on purpose."""
        return self._failures

    # -- What it can be told ----------------------------------------------------------------------

    def fail_next(
        self,
        times: int | None = 1,
        *,
        error: Failure = StoreConnectionError,
        on: Which = None,
        after: int = 0,
    ) -> None:
        """Fail the next operations, before anything of them is done.

        Example:
            >>> from sessionstore import StoreBusyError
            >>> from sessionstore.operations import Append
            >>> from sessionstore.testing import FlakySessionStore
            >>> store = FlakySessionStore()
            >>> store.fail_next(2, error=StoreBusyError("too many connections"), on=Append)
            >>> store.get_messages("s1")
            []
            >>> store.append_message("s1", {"role": "user", "content": "Hello!"})
            Traceback (most recent call last):
                ...
            sessionstore.errors.StoreBusyError: too many connections

        Args:
            times: How many; ``None`` for all, until `heal`.
            error: What to raise. Real stores raise a `SessionStoreError`: of their errors, a
                `StoreUnavailableError` and those below it are worth a retry.
            on: Which operations; all when not given. A list of several counts once, if any of
                them is one of these.
            after: How many of those are answered first.
        """
        self._add(_Fault(on, after, times, failure=error))

    def lose_answers(
        self,
        times: int | None = 1,
        *,
        error: Failure = StoreConnectionError,
        on: Which = None,
        after: int = 0,
    ) -> None:
        """Do what the next operations ask for, and then raise, as if the answer were lost.

        What a connection that breaks at the wrong moment does: the caller can't know that the write
        took effect. To send messages that have an id again is safe: they are there once.

        Example:
            >>> from sessionstore import StoreConnectionError
            >>> from sessionstore.testing import FlakySessionStore
            >>> store = FlakySessionStore()
            >>> hello = {"role": "user", "content": "Hello!", "id": "m1"}
            >>> store.lose_answers(on="writes")
            >>> try:
            ...     store.append_message("s1", hello)
            ... except StoreConnectionError:
            ...     store.append_message("s1", hello)  # it is there already
            0

        Args:
            times: How many; ``None`` for all, until `heal`.
            error: What to raise.
            on: Which operations; all when not given. A list of several counts once, if any of
                them is one of these.
            after: How many of those are answered first.
        """
        self._add(_Fault(on, after, times, failure=error, is_lost=True))

    def slow(
        self, seconds: float, *, times: int | None = None, on: Which = None, after: int = 0
    ) -> None:
        """Hold operations back for a time, before anything of them is done.

        An async call lets its event loop go on meanwhile. Where the store has a timeout and that is
        shorter, the call raises `StoreTimeoutError` when it is over, and nothing was done.

        Example:
            >>> from sessionstore.testing import FlakySessionStore
            >>> store = FlakySessionStore(timeout=0.01)
            >>> store.slow(60, on="reads")
            >>> store.get_messages("s1")
            Traceback (most recent call last):
                ...
            sessionstore.errors.StoreTimeoutError: too slow, on purpose: it is a FlakySessionStore

        Args:
            seconds: How long.
            times: How many operations; ``None`` for all, until `heal`.
            on: Which operations; all when not given. A list of several counts once, if any of
                them is one of these.
            after: How many of those are answered at once first.
        """
        self._add(_Fault(on, after, times, seconds=seconds))

    def go_down(self, *, error: Failure = StoreConnectionError) -> None:
        """Fail every operation, a ``ping`` too, until `come_back`.

        Args:
            error: What to raise.
        """
        with self._lock:
            self._down[:] = [_Fault(None, 0, None, failure=error)]

    def come_back(self) -> None:
        """End what `go_down` began. Other faults stay."""
        with self._lock:
            self._down.clear()

    @contextmanager
    def outage(self, *, error: Failure = StoreConnectionError) -> Iterator[None]:
        """Be down for the length of a ``with`` block, sync or async code in it.

        Args:
            error: What to raise.

        Yields:
            Nothing.
        """
        self.go_down(error=error)
        try:
            yield
        finally:
            self.come_back()

    def heal(self) -> None:
        """Forget all faults, and be there."""
        with self._lock:
            self._faults.clear()
            self._down.clear()

    # -- What it does -----------------------------------------------------------------------------

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    def run(self, operation: Any) -> Any:
        """Hand an operation on, or fail."""
        operation = as_operation(operation)
        seconds, fault = self._meet(operation)
        if seconds:
            wait, is_late = self._wait(seconds)
            time.sleep(wait)
            self._require_in_time(is_late)
        if fault and not fault.is_lost:
            self._fail(fault.failure, _TEXT)
        result = super().run(operation)
        if fault:
            self._fail(fault.failure, _LOST)
        return result

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        operation = as_operation(operation)
        seconds, fault = self._meet(operation)
        if seconds:
            wait, is_late = self._wait(seconds)
            await asyncio.sleep(wait)
            self._require_in_time(is_late)
        if fault and not fault.is_lost:
            self._fail(fault.failure, _TEXT)
        result = await super().arun(operation)
        if fault:
            self._fail(fault.failure, _LOST)
        return result

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _meet(self, operation: Operation[Any]) -> tuple[float, _Fault | None]:
        """Give how long the operation is held back, and the fault by which it fails."""
        seconds, failing = 0.0, None
        with self._lock:
            self._operations.append(operation)
            if self._down:
                return 0.0, self._down[0]
            for fault in self._faults:
                if failing and fault.failure:
                    continue  # a call fails once: this one is for a later call
                if fault.meets(operation):
                    seconds += fault.seconds
                    failing = fault if fault.failure else failing
        return seconds, failing

    def _wait(self, seconds: float) -> tuple[float, bool]:
        """Give how long to wait, and whether the call's time is up then."""
        deadline = deadline_after(self.timeout)
        left = seconds if deadline is None else max(0.0, deadline - time.monotonic())
        return min(seconds, left), left < seconds

    def _require_in_time(self, is_late: bool) -> None:
        if is_late:
            self._fail(StoreTimeoutError, _LATE)

    def _fail(self, failure: Failure | None, reason: str) -> None:
        with self._lock:
            self._failures += 1
        if isinstance(failure, type):
            raise failure(reason)
        if failure is not None:
            raise failure.with_traceback(None)


def _is_for(which: Which, operation: Operation[Any]) -> bool:
    if which is None:
        return True
    if isinstance(operation, Several):
        meets = isinstance(which, type | tuple) and isinstance(operation, which)
        return meets or any(_is_for(which, part) for part in operation.operations)
    if isinstance(which, str):
        return operation.is_write == (which == "writes")
    if isinstance(which, type | tuple):
        return isinstance(operation, which)
    return which(operation)
