"""`Runner`: what carries operations out, one or several at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from sessionstore.operations import Operation

__all__ = ["Runner"]

T = TypeVar("T")


class Runner(ABC):
    """What carries operations out: a store."""

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
