"""What a caller sends, as the log takes it: by an id of its own, and never as a summary."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_
from typing import cast

from langchain_core.messages import AnyMessage, SystemMessage

from langchain_sessionstore.agents.state import SessionAgentState, behind_mark
from langchain_sessionstore.summaries import is_summary
from sessionstore.models import new_id

__all__ = ["as_said", "said_by_caller", "with_ids"]


def with_ids(messages: list[AnyMessage]) -> list[AnyMessage]:
    """Give what is sent, with ids in the place of empty ones, which LangGraph takes for ids.

    Args:
        messages: What is sent.

    Returns:
        The same list where nothing is changed, else another.
    """
    if all(message.id != "" for message in messages):
        return messages
    return [m.model_copy(update={"id": new_id()}) if m.id == "" else m for m in messages]


def said_by_caller(messages: list[AnyMessage]) -> list[AnyMessage]:
    """Give what is sent without the mark of a summary, which would hide it from the log.

    Args:
        messages: What is sent; the session has no summary of which it could be a copy.

    Returns:
        The same list where nothing is changed, else another.
    """
    if not any(map(is_summary, messages)):
        return messages
    return [_unmarked(message) if is_summary(message) else message for message in messages]


def as_said(state: SessionAgentState, others: Collection[str]) -> SessionAgentState:
    """Give a thread's state in which what is new is as the log takes it.

    Args:
        state: The thread's. A summary of its own stands in front of all but system messages.
        others: What callers who were refused said in it: that has to keep its ids.

    Returns:
        The same state where nothing is changed, else another.
    """
    messages, new = state.get("messages") or [], behind_mark(state)
    start, front = len(messages) - len(new), _front(messages)
    named = new if "" in others else with_ids(new)
    kept = max(front - start, 0)
    said = [*named[:kept], *said_by_caller(named[kept:])]
    if all(map(is_, said, new)):
        return state
    return cast("SessionAgentState", {**state, "messages": [*messages[:start], *said]})


def _front(messages: list[AnyMessage]) -> int:
    """Give the place behind the first message that is no system message."""
    places = (n for n, each in enumerate(messages, 1) if not isinstance(each, SystemMessage))
    return next(places, len(messages))


def _unmarked(message: AnyMessage) -> AnyMessage:
    kwargs = {**message.additional_kwargs}
    del kwargs["lc_source"]
    return message.model_copy(update={"additional_kwargs": kwargs})
