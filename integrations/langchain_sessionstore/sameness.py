"""What messages say, whatever blocks it is in: by that a retry is distinguished from an edit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from zlib import crc32

import msgspec
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)

from langchain_sessionstore.codec import to_langchain
from sessionstore import SessionMessage

__all__ = ["SAID", "as_given", "edited", "fingerprints", "gist", "repeats", "says_the_same"]

SAID = "sessionstore_said"
"""Says, in the metadata of what a user said and middleware changed, how it was when it was sent.

It is a checksum: what was redacted can't be read from it.
"""

_encode = msgspec.json.Encoder(enc_hook=repr).encode


def says_the_same(one: BaseMessage, other: BaseMessage) -> bool:
    """Tell whether two messages say the same, in whatever blocks.

    Clients send answers and results back in forms that hold less: of those the text counts.

    Args:
        one: A message.
        other: Another.

    Returns:
        Whether they do.
    """
    if not (isinstance(one, type(other)) or isinstance(other, type(one))):  # a chunk is one, too
        return False
    if not isinstance(one, HumanMessage):
        return str(one.text) == str(other.text)
    return (
        one.content == other.content
        or _meant(one.content) == _meant(other.content)
        or _bytes(_meant(one.content_blocks)) == _bytes(_meant(other.content_blocks))
    )


def repeats(held: SessionMessage, given: BaseMessage) -> bool:
    """Tell whether a message says what a message of the log said when it was sent.

    What middleware made of it since, as a redaction or by adding documents, is no edit.

    Args:
        held: The log's.
        given: The message as it is sent now.

    Returns:
        Whether it does.
    """
    if says_the_same(to_langchain(held), given):
        return True
    return SAID in held.metadata and held.metadata[SAID] == gist(given)


def gist(message: BaseMessage) -> int:
    """Give a number by which is known what a message says, in whatever blocks.

    Args:
        message: The message.

    Returns:
        The number.
    """
    return crc32(_bytes(_meant(message.content_blocks)))


def _bytes(content: Any) -> bytes:
    if isinstance(content, str):
        return content.encode(errors="replace")
    try:
        return _encode(content)
    except UnicodeEncodeError:
        return repr(content).encode(errors="replace")


def _meant(content: Any) -> list[Any]:
    """Give a content's blocks without what only numbers them, and texts as one where they meet."""
    meant: list[Any] = []
    for block in [content] if isinstance(content, str) else content:
        if isinstance(block, str) or block.get("type") == "text":
            text = block if isinstance(block, str) else str(block.get("text", ""))
            if meant and isinstance(meant[-1], str):
                meant[-1] += text
            elif text:
                meant.append(text)
        else:
            meant.append({key: block[key] for key in block if key not in ("id", "index")})
    return meant


def fingerprints(messages: Iterable[BaseMessage]) -> list[int]:
    """Give numbers by which a later turn knows what was said, and where it was changed.

    Args:
        messages: A state's messages.

    Returns:
        A number for each.
    """
    return [_fingerprint(message) for message in messages]


def edited(messages: Iterable[BaseMessage], seen: Collection[int] | None) -> list[BaseMessage]:
    """Give the messages that are otherwise than they were.

    Args:
        messages: Those that a state held before.
        seen: Their fingerprints then; ``None`` where nobody took them.

    Returns:
        Those that were changed since.
    """
    if seen is None:
        return []
    known = frozenset(seen)
    return [message for message in messages if _fingerprint(message) not in known]


def _fingerprint(message: BaseMessage) -> int:
    said = message.content
    if not isinstance(said, str) and not isinstance(message, HumanMessage):
        said = str(message.text)
    return crc32(_bytes(said), crc32((message.id or "").encode(errors="replace")))


def as_given(
    messages: Iterable[BaseMessage], given: Mapping[str | None, BaseMessage]
) -> list[BaseMessage]:
    """Give messages as a caller sent them, where it did: answers and results as the log has them.

    Args:
        messages: The messages, as the log holds them.
        given: What was sent, by id.

    Returns:
        The messages.
    """
    return [_as_given(message, given.get(message.id)) for message in messages]


def _as_given(message: BaseMessage, given: BaseMessage | None) -> BaseMessage:
    if given is None or not isinstance(message, (AIMessage, ToolMessage)):
        return given or message
    if says_the_same(message, given):
        return message
    return message.model_copy(update={"content": given.content})
