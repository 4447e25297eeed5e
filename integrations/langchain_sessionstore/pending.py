"""Tool calls without a result: closed in what a model is given, never in the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)

from langchain_sessionstore.codec import asks_for_tools
from langchain_sessionstore.summaries import to_show
from sessionstore import SessionMessage
from sessionstore.window import INTERRUPTED

__all__ = ["closed", "closed_view"]

_NOT_RUN = "This tool call was not run: its arguments were no valid JSON."
# Where a message is none of a class, pydantic takes longer to say so than all else takes here.
_ASKS_NEVER = frozenset({HumanMessage, SystemMessage, ToolMessage})


def closed_view(stored: Sequence[SessionMessage], new: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Give stored messages as a history that new messages can follow: see `closed`.

    Args:
        stored: The messages.
        new: What comes after them.

    Returns:
        The history.
    """
    shown = to_show(stored)
    return closed(shown, new) if asks_for_tools(stored) else shown


def closed(shown: Sequence[BaseMessage], new: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Give a history that new messages can follow: no provider takes a call without a result.

    A call whose arguments were no JSON was not run, and some providers are sent it still: it
    is shown as a call without arguments, whose result says so.

    A call at the history's end is pending, for an approval maybe: it is left to the results that
    the new messages begin with, and where nothing new comes, it is left alone.

    Args:
        shown: The history.
        new: What comes after it.

    Returns:
        The history, where each other call has a result that says it was interrupted.
    """
    history: list[BaseMessage] = []
    end = 0
    for place, asking in _asking(shown):
        history += shown[end:place]
        end = _end_of_results(shown, place)
        message, results = _with_valid_calls(asking, shown[place + 1 : end])
        history += [message, *results]
        follows = new if end == len(shown) else shown[end : end + 1]
        if follows:
            waiting = _without_result(message.tool_calls, [*results, *follows])
            history += _results(waiting, "interrupted", INTERRUPTED)
    history += shown[end:]
    return history


def _asking(shown: Sequence[BaseMessage]) -> list[tuple[int, AIMessage]]:
    """Give the messages that ask for tools, and their places."""
    return [
        (place, message)
        for place, message in enumerate(shown)
        if type(message) not in _ASKS_NEVER
        and isinstance(message, AIMessage)
        and (message.tool_calls or message.invalid_tool_calls)
    ]


def _end_of_results(shown: Sequence[BaseMessage], place: int) -> int:
    end = place + 1
    while end < len(shown) and isinstance(shown[end], ToolMessage):
        end += 1
    return end


def _with_valid_calls(
    asking: AIMessage, results: Sequence[BaseMessage]
) -> tuple[AIMessage, Sequence[BaseMessage]]:
    """Give a message and its results: those of calls that were no JSON are made up."""
    if not asking.invalid_tool_calls:
        return asking, results
    calls = [
        ToolCall(name=call["name"] or "tool", args={}, id=call["id"], type="tool_call")
        for call in asking.invalid_tool_calls
        if call["id"]  # what has none can't be answered
    ]
    all_calls = [*asking.tool_calls, *calls]
    valid = asking.model_copy(update={"tool_calls": all_calls, "invalid_tool_calls": []})
    not_run = _results(_without_result(calls, results), f"not-run:{asking.id}", _NOT_RUN)
    return valid, [*not_run, *results]


def _without_result(calls: Iterable[ToolCall], new: Sequence[BaseMessage]) -> list[ToolCall]:
    came = {message.tool_call_id for message in new if isinstance(message, ToolMessage)}
    waiting = {call["id"] or "": call for call in calls}
    return [call for id_, call in waiting.items() if id_ not in came]


def _results(calls: Iterable[ToolCall], why: str, text: str) -> list[BaseMessage]:
    return [
        ToolMessage(
            text,
            name=call["name"],
            id=f"{why}:{call['id']}",
            tool_call_id=call["id"] or "",  # some models give none
            status="error",
        )
        for call in calls
    ]
