"""Where the results of an agent's tool calls stand in its log: behind their call, in its order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from sessionstore import SessionMessage
from sessionstore.window.turns import unfinished

__all__ = ["numbered_calls", "open_repairs", "result_id", "unanswered_before"]


def result_id(session_id: str, message: BaseMessage, call_id: str | None, nth: int = 0) -> str:
    """Give the id of a tool call's result: the same one however often the tool is run.

    Args:
        session_id: The session.
        message: What makes the call.
        call_id: The call's id: some models number them from the start in each message.
        nth: Which of the message's calls with this id it is.

    Returns:
        The id.
    """
    names = (session_id, message.id, call_id, nth) if nth else (session_id, message.id, call_id)
    return hashlib.sha256(repr(names).encode()).hexdigest()[:32]


def numbered_calls(session_id: str, message: AIMessage) -> Iterator[tuple[Any, str]]:
    """Give a message's calls in the order of their results, each with the id of its result.

    Those whose arguments were no JSON come first: LangChain puts a result of its own right behind
    the message for each that has an id.

    Args:
        session_id: The session.
        message: What makes the calls.

    Yields:
        Each call.
    """
    count = Counter[str | None]()
    invalid = [call for call in message.invalid_tool_calls if call["id"] is not None]
    for call in [*invalid, *message.tool_calls]:
        call_id = call["id"]
        yield call, result_id(session_id, message, call_id, count[call_id])
        count[call_id] += 1


def unanswered_before(
    session_id: str, state: Sequence[BaseMessage], message: AIMessage, id: str
) -> list[SessionMessage]:
    """Give what keeps the places of the results that come before one, and are not there yet.

    Args:
        session_id: The session.
        state: The agent's messages.
        message: What makes the calls.
        id: The result's id.

    Returns:
        A message for each.
    """
    given = _given_behind(state, message)
    places: list[SessionMessage] = []
    for call, own in numbered_calls(session_id, message):
        if own == id:
            break
        if given[call["id"]]:
            given[call["id"]] -= 1
        else:
            places.append(_place(own, call))
    return places


def open_repairs(session_id: str, state: Sequence[BaseMessage]) -> list[SessionMessage]:
    """Give what keeps the places of LangChain's results for the last message's invalid calls.

    It makes them when the model is asked again, and puts them right behind the calls: what is said
    meanwhile comes after them.

    Args:
        session_id: The session.
        state: The agent's messages, up to where something is added.

    Returns:
        A message for each result that is not there yet.
    """
    last = next((message for message in reversed(state) if isinstance(message, AIMessage)), None)
    if last is None or not last.invalid_tool_calls:
        return []
    given = _given_behind(state, last)
    invalid = [call for call in last.invalid_tool_calls if call["id"] is not None]
    calls = zip(invalid, numbered_calls(session_id, last), strict=False)  # they come first
    return [_place(own, call) for call, (_, own) in calls if not given[call["id"]]]


def _given_behind(state: Sequence[BaseMessage], message: AIMessage) -> Counter[str | None]:
    places = [place for place, other in enumerate(state) if other.id == message.id]
    behind = state[places[-1] + 1 :] if places else state
    return Counter(other.tool_call_id for other in behind if isinstance(other, ToolMessage))


def _place(id: str, call: Any) -> SessionMessage:
    named = {"name": call["name"] or "tool", "args": {}, "id": call["id"]}
    return unfinished(id, {**named, "args": {}})  # type: ignore[typeddict-item]
