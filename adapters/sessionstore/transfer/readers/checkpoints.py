"""The messages in a checkpoint of LangGraph, decoded without importing what it names.

LangGraph's own serializer imports the classes that stored bytes name, unless it is told not to.
Here the bytes are data: of an object that they name, what it was made of is taken, and no more.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from sessionstore.forms.faults import FormError
from sessionstore.forms.langchain import message_of
from sessionstore.models import SessionMessage
from sessionstore.transfer.readers.building import Part, decoded, part_of, today

__all__ = ["CHANNEL", "NO_MESSAGES", "made_at", "parts_of", "unpacked"]

CHANNEL = "messages"
NO_MESSAGES = "its state has no such channel of messages, or keeps it as a delta channel"

# Of the extension types of LangGraph's MessagePack: those that name a class, in whose data the
# arguments come third; a list or whatever else in a class of LangGraph; and NumPy's arrays.
_OBJECTS = range(6)
_SNAPSHOT = 7
_ARGUMENTS = 2
_CLASSES = {
    "HumanMessage": "human",
    "AIMessage": "ai",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "function",
    "ChatMessage": "chat",
}
_GREGORIAN = datetime(1582, 10, 15, tzinfo=timezone.utc)
_VERSION = 6


class _Opaque:
    """What has no data that a message could hold: no store takes it."""


def unpacked(kind: object, raw: bytes | str | memoryview | None) -> Any:
    """Decode what LangGraph's serializer wrote. Nothing that it names is imported or called.

    Args:
        kind: The name of its encoding.
        raw: The bytes.

    Returns:
        The data: in place of an object, what it was made of.

    Raises:
        FormError: It can't be decoded: it is pickled or encrypted, say.
    """
    if kind in ("null", "empty") or raw is None:
        return None
    if kind == "json":
        return decoded(raw)
    if kind == "pickle":
        raise FormError("it is pickled: what is pickled is never loaded here")
    if kind != "msgpack" or isinstance(raw, str):
        raise FormError("it is encrypted, or in an encoding that is not known here")
    return _unpack(raw)


def _unpack(raw: bytes | memoryview) -> Any:
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        pass  # it may quote the data, so that it must be no part of the error's chain
    raise FormError("it is damaged, or nested too deep")


def _extension(code: int, data: memoryview) -> Any:
    if code == _SNAPSHOT:
        return _decoder.decode(data)
    if code not in _OBJECTS:
        return _Opaque()
    named = _decoder.decode(data)
    return named[_ARGUMENTS] if isinstance(named, list) and len(named) > _ARGUMENTS else _Opaque()


_decoder = msgspec.msgpack.Decoder(ext_hook=_extension)


def parts_of(where: str, messages: Any, when: datetime | None) -> Iterator[Part]:
    """Give the messages of a thread.

    Args:
        where: The thread, as `Unreadable` says it.
        messages: What the channel holds.
        when: The time of the checkpoint.

    Yields:
        Each message, or why there is none.
    """
    if not isinstance(messages, list):
        yield Part(where, "", NO_MESSAGES)
        return
    told = when or today()
    for place, data in enumerate(messages):

        def read(data: Any = data) -> SessionMessage:
            return _message_of(data)

        yield part_of(f"{where}, message {place}", f"langgraph-{place}", read, told)


def _message_of(data: Any) -> SessionMessage:
    if not isinstance(data, dict):
        raise FormError("it is no message of LangChain")
    if "lc" in data and isinstance(data.get("kwargs"), dict):  # the encoding "json"
        name = data["id"][-1] if isinstance(data.get("id"), list) and data["id"] else None
        data = {"type": _CLASSES.get(str(name).removesuffix("Chunk")), **data["kwargs"]}
    return message_of(data.get("type"), data)


def made_at(checkpoint_id: Any) -> datetime | None:
    """Give the time that is in a checkpoint's id; ``None`` where it is none of LangGraph's ids."""
    try:
        known = uuid.UUID(checkpoint_id)
        if known.version != _VERSION:
            return None
        number = known.int
        ticks = (number >> 80) << 12 | (number >> 64) & 0xFFF
        return _GREGORIAN + timedelta(microseconds=ticks // 10)
    except (ValueError, AttributeError, TypeError, OverflowError):
        return None
