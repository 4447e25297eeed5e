"""Tool calls without a result: closed in what a model is given, never in the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage

from sessionstore.window import INTERRUPTED

__all__ = ["closed"]

_NOT_RUN = "This tool call was not run: its arguments were no valid JSON."


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
    waiting: dict[str, ToolCall] = {}
    for message in _with_valid_calls(shown):
        if waiting and not isinstance(message, ToolMessage):
            history += _results(waiting.values(), "interrupted", INTERRUPTED)
            waiting = {}
        history.append(message)
        if isinstance(message, ToolMessage):
            waiting.pop(message.tool_call_id, None)
        elif isinstance(message, AIMessage) and message.tool_calls:
            waiting = {call["id"] or "": call for call in message.tool_calls}
    if waiting and new:
        history += _results(_without_result(waiting, new), "interrupted", INTERRUPTED)
    return history


def _without_result(waiting: dict[str, ToolCall], new: Sequence[BaseMessage]) -> list[ToolCall]:
    came = {message.tool_call_id for message in new if isinstance(message, ToolMessage)}
    return [call for id_, call in waiting.items() if id_ not in came]


def _with_valid_calls(shown: Sequence[BaseMessage]) -> Iterator[BaseMessage]:
    for place, message in enumerate(shown):
        if not isinstance(message, AIMessage) or not message.invalid_tool_calls:
            yield message
            continue
        calls = [
            ToolCall(name=call["name"] or "tool", args={}, id=call["id"], type="tool_call")
            for call in message.invalid_tool_calls
            if call["id"]  # what has none can't be answered
        ]
        all_calls = [*message.tool_calls, *calls]
        yield message.model_copy(update={"tool_calls": all_calls, "invalid_tool_calls": []})
        behind = takewhile(lambda one: isinstance(one, ToolMessage), shown[place + 1 :])
        unanswered = _without_result({call["id"] or "": call for call in calls}, list(behind))
        yield from _results(unanswered, f"not-run:{message.id}", _NOT_RUN)


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
