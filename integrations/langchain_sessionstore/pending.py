"""Tool calls without a result: closed in what a model is given, never in the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage

from sessionstore.window import INTERRUPTED

__all__ = ["closed"]


def closed(shown: Sequence[BaseMessage], new: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Give a history that new messages can follow: no provider takes a call without a result.

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
    for message in shown:
        if waiting and not isinstance(message, ToolMessage):
            history += _interrupted(waiting.values())
            waiting = {}
        history.append(message)
        if isinstance(message, ToolMessage):
            waiting.pop(message.tool_call_id, None)
        elif isinstance(message, AIMessage) and message.tool_calls:
            waiting = {call["id"] or "": call for call in message.tool_calls}
    if waiting and new:
        history += _interrupted(_without_result(waiting, new))
    return history


def _without_result(waiting: dict[str, ToolCall], new: Sequence[BaseMessage]) -> list[ToolCall]:
    came = {message.tool_call_id for message in new if isinstance(message, ToolMessage)}
    return [call for id_, call in waiting.items() if id_ not in came]


def _interrupted(calls: Iterable[ToolCall]) -> list[BaseMessage]:
    return [
        ToolMessage(
            INTERRUPTED,
            name=call["name"],
            id=f"interrupted:{call['id']}",
            tool_call_id=call["id"] or "",  # some models give none
        )
        for call in calls
    ]
