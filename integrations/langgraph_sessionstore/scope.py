"""`ScopedStore`: the part of a fallback store that is a checkpointer's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from msgspec.structs import replace

from sessionstore import SessionData, SessionInfo, SessionPage, WrapperSessionStore
from sessionstore.operations import Operation, Several
from sessionstore.wrapper import as_operation

__all__ = ["ScopedStore"]

T = TypeVar("T")
_PREFIX = "langgraph:"


class ScopedStore(WrapperSessionStore):
    """A store whose sessions and agents have a prefix that their users don't see.

    So a file may be the fallback of a checkpointer and of a session store at once: neither takes
    over the other's journals.

    Args:
        store: The store.
    """

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    def run(self, operation: Any) -> Any:
        """Carry an operation out on the sessions with the prefix."""
        return _outward(super().run(_inward(as_operation(operation))))

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        return _outward(await super().arun(_inward(as_operation(operation))))


def _inward(operation: Operation[Any]) -> Operation[Any]:
    if isinstance(operation, Several):
        parts: list[Any] = [_inward(part) for part in operation.operations]
        return Several(parts)
    names = {
        name: _PREFIX + value
        for name in ("session_id", "agent_id")
        if isinstance(value := getattr(operation, name, None), str)
    }
    return replace(operation, **names) if names else operation


def _outward(result: Any) -> Any:
    if isinstance(result, SessionPage):
        return replace(result, sessions=[_outward(each) for each in result.sessions])
    if isinstance(result, (SessionData, SessionInfo)):
        own, agent = result.id.removeprefix(_PREFIX), result.agent_id.removeprefix(_PREFIX)
        return replace(result, id=own, agent_id=agent)
    if isinstance(result, list):
        return [_outward(each) for each in result]
    return result
