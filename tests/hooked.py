"""A store in memory that tells what it is asked for."""

from __future__ import annotations

from typing import Any, TypeVar

from sessionstore import InMemorySessionStore
from sessionstore.operations import Operation

T = TypeVar("T")


class HookedStore(InMemorySessionStore):
    """Calls `before` and `after` each operation, from `run` and `arun`."""

    def before(self, operation: Operation[Any]) -> None:
        """Do something, or raise, before an operation."""

    def after(self, operation: Operation[Any], result: Any) -> None:
        """Do something after an operation."""

    def run(self, operation: Operation[T]) -> T:
        self.before(operation)
        result = super().run(operation)
        self.after(operation, result)
        return result

    async def arun(self, operation: Operation[T]) -> T:
        self.before(operation)
        result = await super().arun(operation)
        self.after(operation, result)
        return result
