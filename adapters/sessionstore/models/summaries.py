"""The newest summary of a session, as its metadata holds it: it cuts nothing out of the log."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from sessionstore.models.classes import SessionMessage
from sessionstore.models.stored_form import decode_metadata, encode_metadata

__all__ = [
    "SUMMARY_INTRODUCTION",
    "WITHOUT_SUMMARY",
    "Summary",
    "summary_of",
    "summary_until",
    "without_summary",
]

SUMMARY = "summary"
"""The key in a session's metadata."""

SUMMARY_INTRODUCTION = "Here is a summary of the conversation to date:\n\n"
"""What stands in front of a summary's text where a model reads it."""

WITHOUT_SUMMARY: dict[str, Any] = {SUMMARY: None}
"""What takes a summary away, as the metadata of an update."""

_UNTIL = "summary_until"


class Summary(msgspec.Struct, frozen=True):
    """A summary of a session's messages, from the first on.

    Attributes:
        text: What it says.
        until: The id of the last message that it covers.
    """

    text: str
    until: str

    def __repr__(self) -> str:
        """Show how far it goes: never what it says."""
        return f"Summary(until={self.until!r}, text=<{len(self.text)} characters>)"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return [("until", self.until)]

    def metadata(self) -> dict[str, Any]:
        """Give the metadata by which a session has it."""
        return {SUMMARY: {"text": self.text, "until": self.until}}

    def message(self) -> SessionMessage:
        """Give the message that stands in a view for those that it covers; no log has it."""
        return SessionMessage(
            "user",
            SUMMARY_INTRODUCTION + self.text,
            id=f"summary:{self.until}",
            metadata={_UNTIL: self.until},
        )


def summary_of(metadata: Mapping[str, Any]) -> Summary | None:
    """Give the summary that a session's metadata holds.

    Args:
        metadata: The session's.

    Returns:
        The summary; ``None`` where there is none, or where that key holds something else.
    """
    found = metadata.get(SUMMARY)
    if not isinstance(found, Mapping):
        return None
    text, until = found.get("text"), found.get("until")
    if isinstance(text, str) and text.strip() and isinstance(until, str) and until:
        return Summary(text, until)
    return None


def without_summary(metadata: bytes, gone: Collection[str]) -> bytes:
    """Give a session's metadata, as it is stored, when messages are gone.

    Args:
        metadata: What was stored before.
        gone: The ids of the messages.

    Returns:
        The metadata without a summary whose last message is one of them.
    """
    if b'"summary"' not in metadata:
        return metadata
    held = decode_metadata(metadata)
    summary = summary_of(held)
    if summary is None or summary.until not in gone:
        return metadata
    return encode_metadata({key: held[key] for key in held if key != SUMMARY})


def summary_until(message: SessionMessage) -> str | None:
    """Tell up to which message one of a view is a summary.

    Args:
        message: The message.

    Returns:
        The id of the last message that it covers; ``None`` where it is no summary.
    """
    until = message.metadata.get(_UNTIL)
    return until if isinstance(until, str) and message.id == f"summary:{until}" else None
