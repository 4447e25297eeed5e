"""What a tool gave: the messages that it brings into an agent's state."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages
from langgraph.types import Command

__all__ = ["messages_of"]


def messages_of(result: Any) -> list[BaseMessage]:
    """Give the messages of what a tool gave, as those that will be in the state.

    Args:
        result: What it gave.

    Returns:
        The messages; a command's are those from now on.
    """
    if isinstance(result, BaseMessage):
        return [result]
    if isinstance(result, list):
        return [message for item in result for message in messages_of(item)]
    update = result.update if isinstance(result, Command) and result.graph is None else None
    if not isinstance(update, dict) or "messages" not in update:
        return []
    messages = update["messages"]
    said = convert_to_messages(messages if isinstance(messages, list) else [messages])
    update["messages"] = said
    return said
