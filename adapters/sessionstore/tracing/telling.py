"""What is told of an operation and its result: numbers, ids of sessions and agents, classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any

from sessionstore.operations import (
    Append,
    Create,
    DeleteMessages,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    ReplaceMessage,
    Restore,
    Rewind,
    Several,
    Update,
)
from sessionstore.operations.base import AGENT
from sessionstore.tracing.names import OUTCOME

__all__ = [
    "READ",
    "WRITTEN",
    "Attributes",
    "Count",
    "asked",
    "came_of",
    "counter",
    "name_of",
    "outcome",
]

Attributes = dict[str, Any]
Count = Callable[[Any, Any], Any]
Counts = dict[type, Count]
_GIVEN: Counts = {
    Append: lambda asked, _: len(asked.messages),
    Create: lambda asked, _: len(asked.messages),
    ReplaceMessage: lambda *_: 1,
    Restore: lambda asked, _: len(asked.messages),
    Update: lambda asked, _: len(asked.messages or ()),
}
WRITTEN: Counts = {
    **_GIVEN,
    Append: lambda _, added: added,
    Restore: lambda asked, made: len(asked.messages) if made else 0,
}
READ: Counts = {
    Get: lambda _, session: len(session.messages) if session else 0,
    GetMessages: lambda _, messages: len(messages),
    ListSessions: lambda _, page: sum(len(session.messages) for session in page.sessions),
}
_DELETED: Counts = {
    DeleteMessages: lambda _, ids: len(ids),
    Rewind: lambda _, ids: len(ids),
}
_LIMIT: Counts = {Get: lambda asked, _: asked.limit, GetMessages: lambda asked, _: asked.limit}
_LISTED: Counts = {ListSessions: lambda _, page: len(page.sessions)}
_BEFORE = {"sessionstore.messages.given": _GIVEN, "sessionstore.messages.limit": _LIMIT}
_AFTER = {
    "sessionstore.messages.written": WRITTEN,
    "sessionstore.messages.read": READ,
    "sessionstore.messages.deleted": _DELETED,
    "sessionstore.sessions.read": _LISTED,
}


def counter(counts: Counts, operation: Operation[Any]) -> Count | None:
    """Give what counts something of an operation and its result; ``None`` where there is none."""
    if type(operation) is not Several:
        return counts.get(type(operation))
    if not any(type(part) in counts for part in operation.operations):
        return None
    return partial(_sum, counts)


def _sum(counts: Counts, operation: Several, results: Any) -> int:
    pairs = zip(operation.operations, results or repeat(None), strict=False)
    found = [counts[type(part)](part, each) for part, each in pairs if type(part) in counts]
    return sum(number for number in found if number is not None)


def _numbers(named: dict[str, Counts], operation: Operation[Any], result: Any) -> Attributes:
    found = {name: counter(counts, operation) for name, counts in named.items()}
    numbers = {name: count(operation, result) for name, count in found.items() if count}
    return {name: number for name, number in numbers.items() if number is not None}


def asked(operation: Operation[Any]) -> Attributes:
    """Give what is known of an operation before it is carried out."""
    found = {**_numbers(_BEFORE, operation, None), **_agent(operation)}
    if type(operation) is Several:
        names = [type(part).__name__ for part in operation.operations]
        found |= {"sessionstore.operations": names, **_agent(*operation.operations)}
        if len(names) > 1:
            found["db.operation.batch.size"] = len(names)
    return found


def came_of(operation: Operation[Any], result: Any) -> Attributes:
    """Give what is known of it then."""
    results = result if type(operation) is Several else (result,)
    return {**_numbers(_AFTER, operation, result), **_agent(*results)}


def _agent(*known: Any) -> Attributes:
    agents = (getattr(each, "agent_id", None) for each in known)
    named = [agent for agent in agents if agent not in (None, AGENT)]
    return {"gen_ai.agent.id": named[0]} if named else {}


def name_of(operation: Operation[Any]) -> str:
    """Name an operation, by the conventions also where it is several."""
    if type(operation) is not Several:
        return type(operation).__name__
    names = [type(part).__name__ for part in operation.operations]
    if len(names) == 1:
        return names[0]
    return "BATCH" if len(set(names)) > 1 else f"BATCH {names[0]}"


def outcome(kind: type[BaseException] | None) -> Attributes:
    """Give how an operation ended, by the class of what was raised: never its words."""
    if kind is None:
        return {OUTCOME: "ok"}
    if issubclass(kind, Exception):
        return {OUTCOME: "error", "error.type": kind.__name__}
    return {OUTCOME: "cancelled"}  # or Ctrl-C
