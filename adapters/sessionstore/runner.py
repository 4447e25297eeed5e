"""`Runner`: what carries operations out, one or several at once, and counts them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, NamedTuple, TypeVar, cast, overload

from sessionstore.operations import Operation, Several
from sessionstore.stats import Tally

__all__ = ["Runner", "counted"]

T = TypeVar("T")
Run = TypeVar("Run", bound=Callable[..., Any])

_NAMES: dict[type, str] = {list: Several.__name__, tuple: Several.__name__}


class _Tallies(NamedTuple):
    operations: Tally
    errors: Tally


class Runner(ABC):
    """What carries operations out: a store."""

    _tallies: _Tallies

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @abstractmethod
    def run(self, operation: Any) -> Any:
        """Carry out an operation: what a backend implements, and a wrapper hands on.

        Args:
            operation: What to do; or a list of operations on one session, which is `Several`.

        Returns:
            What the method of `SessionStore` of the same meaning returns; of a list, the result of
            each.

        Raises:
            SessionStoreError: As that method does; also where the store does not know the
                operation.
        """

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @abstractmethod
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""

    def _counted(self) -> tuple[dict[str, int], dict[str, int]]:
        """Give how often each operation was asked for, and each error raised."""
        tallies = getattr(self, "_tallies", None) or self._new_tallies()
        return tallies.operations.counts(_NAMES), tallies.errors.counts({})

    def _new_tallies(self) -> _Tallies:
        # One for all threads that come here at once.
        tallies: _Tallies = vars(self).setdefault("_tallies", _Tallies(Tally(), Tally()))
        return tallies


def counted(run: Run) -> Run:
    """Make a store's `run`, or its `arun`, count what it is asked for, and what it raises.

    Where one of the two calls the other, the other alone is to count.

    Args:
        run: The method.

    Returns:
        The same, which counts for `SessionStore.stats`.
    """

    @wraps(run)
    def counting(self: Any, operation: Any) -> Any:
        try:
            operations, errors = self._tallies
        except AttributeError:
            operations, errors = self._new_tallies()
        operations.add(type(operation))
        try:
            return run(self, operation)
        except Exception as error:
            errors.add(type(error))
            raise

    @wraps(run)
    async def acounting(self: Any, operation: Any) -> Any:
        try:
            operations, errors = self._tallies
        except AttributeError:
            operations, errors = self._new_tallies()
        operations.add(type(operation))
        try:
            return await run(self, operation)
        except Exception as error:
            errors.add(type(error))
            raise

    return cast("Run", acounting if iscoroutinefunction(run) else counting)
