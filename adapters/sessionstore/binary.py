"""Bytes in a message, which JSON has no word for: kept as base64, and given back as bytes.

Some providers put bytes into what they give: Bedrock's redacted reasoning, Google's media. A
framework's codec calls `tag_bytes` on what it is about to store and `untag_bytes` on what it reads,
so that every framework finds the bytes that another one stored.

The stored form: each value is ``{"$bytes": "<base64>"}``, and the message says that it holds such
values by ``extra["sessionstore"] = {"bytes": true}``. In a message that says so, an object of the
application's own that looks like such a value has one ``$`` more in front of its key. A message
without bytes is stored as before, and an object in it that looks like bytes is not decoded.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from sessionstore.models import SessionMessage, ToolCall, why_not_json

__all__ = ["holds_bytes", "tag_bytes", "untag_bytes", "why_not_kept"]

_TAG = "$bytes"
_OURS, _HOLDS_BYTES = "sessionstore", "bytes"
_BINARY = (bytes, bytearray, memoryview)
# In MessagePack bytes begin with one of these. Other data may have them, too: it is a first look,
# at a third of what it costs to go through a message.
_BIN_8, _BIN_16, _BIN_32 = b"\xc4", b"\xc5", b"\xc6"
_pack = msgspec.msgpack.Encoder(enc_hook=lambda v: b"" if isinstance(v, _BINARY) else None).encode

_Change: TypeAlias = Callable[[Any], Any]


def tag_bytes(message: SessionMessage) -> SessionMessage:
    """Turn the bytes in a message into what JSON can hold.

    Example:
        >>> from sessionstore import SessionMessage
        >>> from sessionstore.binary import tag_bytes, untag_bytes
        >>> tagged = tag_bytes(SessionMessage("user", [{"type": "media", "data": b"hi"}]))
        >>> tagged.content
        [{'type': 'media', 'data': {'$bytes': 'aGk='}}]
        >>> untag_bytes(tagged).content
        [{'type': 'media', 'data': b'hi'}]

    Args:
        message: A message, with bytes anywhere in its content blocks, the arguments of its tool
            calls or its extras.

    Returns:
        A message without bytes; the same one where it has none. (What else JSON can't hold is
        refused when the message is stored.)
    """
    if not _may_hold_bytes(message):
        return message
    try:
        if not holds_bytes((message.content, message.tool_calls, message.extra)):
            return message
        tagged = _mapped(message, _tagged)
    except RecursionError:
        return message  # it is refused when it is stored
    ours = {**tagged.extra.get(_OURS, {}), _HOLDS_BYTES: True}
    return replace(tagged, extra={**tagged.extra, _OURS: ours})


def why_not_kept(value: Any) -> str:
    """Say what in a value is neither JSON nor bytes.

    Args:
        value: Any value.

    Returns:
        What it is, by its type and never by its content; ``""`` where all can be kept.
    """
    return why_not_json(tag_bytes(SessionMessage("", extra={"": {"": value}})).extra)


def untag_bytes(message: SessionMessage) -> SessionMessage:
    """Give a message its bytes back.

    Args:
        message: What `tag_bytes` gave, as it was stored.

    Returns:
        A message equal to the one that `tag_bytes` was given; the same one where it holds no bytes.
        What is no base64 is left as it is stored.
    """
    extra = message.extra
    if _OURS not in extra or not extra[_OURS].get(_HOLDS_BYTES):
        return message
    ours = {name: known for name, known in extra[_OURS].items() if name != _HOLDS_BYTES}
    others = {name: known for name, known in extra.items() if name != _OURS}
    if ours:
        others[_OURS] = ours
    try:
        return _mapped(replace(message, extra=others), _untagged)
    except RecursionError:
        return message  # no codec wrote it


def holds_bytes(value: object) -> bool:
    """Tell whether there are bytes in a value.

    Args:
        value: Any value: its lists, tuples and dicts are looked through.

    Returns:
        Whether one of them is, or holds, bytes.
    """
    if isinstance(value, dict):
        return any(map(holds_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(holds_bytes, value))
    return isinstance(value, _BINARY)


def _may_hold_bytes(message: SessionMessage) -> bool:
    if type(message.content) is str and not message.extra and not message.tool_calls:
        return False
    try:
        packed = _pack((message.content, message.tool_calls, message.extra))
    except (TypeError, ValueError, OverflowError, RecursionError, BufferError):
        return True  # a number beyond 64 bits, say, or a view of every second byte
    return _BIN_8 in packed or _BIN_16 in packed or _BIN_32 in packed


def _mapped(message: SessionMessage, change: _Change) -> SessionMessage:
    """Change the values in a message. Blocks, arguments and extras themselves stay objects."""
    content = message.content
    if not isinstance(content, str):
        content = [_each(block, change) for block in content]
    calls: list[ToolCall] = [
        {**call, "args": _each(call["args"], change)} if "args" in call else call
        for call in message.tool_calls
    ]
    extra = {name: _each(known, change) for name, known in message.extra.items()}
    return replace(message, content=content, tool_calls=calls, extra=extra)


def _each(values: Any, change: _Change) -> Any:
    if not isinstance(values, dict):
        return values
    return {key: change(value) for key, value in values.items()}


def _tagged(value: Any) -> Any:
    if isinstance(value, _BINARY):
        return {_TAG: base64.b64encode(bytes(value)).decode()}
    if isinstance(value, dict):
        looks_tagged = _looks_tagged(value)
        return {f"${k}" if looks_tagged else k: _tagged(inner) for k, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tagged(inner) for inner in value]
    return value


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if not _looks_tagged(value):
        return {key: _untagged(inner) for key, inner in value.items()}
    [(key, inner)] = value.items()
    return _bytes_of(value) if key == _TAG else {key[1:]: _untagged(inner)}


def _looks_tagged(value: dict[Any, Any]) -> bool:
    if len(value) != 1:
        return False
    [key] = value
    return isinstance(key, str) and key.endswith(_TAG) and not key[: -len(_TAG)].strip("$")


def _bytes_of(tagged: dict[str, Any]) -> Any:
    try:
        return base64.b64decode(tagged[_TAG], validate=True)
    except (TypeError, ValueError):
        return tagged
