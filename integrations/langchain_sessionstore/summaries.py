"""Summaries: shown as LangChain's own, and never taken for something that was said."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage
from msgspec.structs import replace

from langchain_sessionstore.codec import to_langchain_messages
from sessionstore import SessionMessage
from sessionstore.models import SUMMARY_INTRODUCTION, Summary, summary_until

__all__ = ["is_summary", "summarized", "text_of", "to_show"]

_SOURCE = {"lc_source": "summarization"}


def is_summary(message: BaseMessage) -> bool:
    """Tell whether a message is a summary, as LangChain's `SummarizationMiddleware` marks it.

    Args:
        message: Any message.

    Returns:
        Whether it stands for others, which the log has.
    """
    return message.additional_kwargs.get("lc_source") == "summarization"


def to_show(stored: Sequence[SessionMessage]) -> list[BaseMessage]:
    """Give the messages of a view, its summary marked as LangChain marks one.

    Args:
        stored: The view.

    Returns:
        Its messages.
    """
    return to_langchain_messages(
        replace(message, extra={"langchain": {"additional_kwargs": _SOURCE}}, metadata={})
        if message.metadata and summary_until(message)
        else message
        for message in stored
    )


def summarized(message: BaseMessage, until: str) -> Summary | None:
    """Give a summary that an agent's middleware made, as a session keeps it.

    Args:
        message: The middleware's message.
        until: The last message that it covers.

    Returns:
        The summary; ``None`` where it says nothing.
    """
    text = text_of(message)
    return Summary(text, until) if text else None


def text_of(message: BaseMessage) -> str:
    """Give what a summary says, without what introduces it.

    Args:
        message: The summary's message.

    Returns:
        Its text.
    """
    return str(message.text).removeprefix(SUMMARY_INTRODUCTION).strip()
