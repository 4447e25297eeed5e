"""The JSON form in which stores keep messages and metadata.

A later version of it starts with ``{"v":2``, and older readers refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from sessionstore.errors import CorruptMessageError, InvalidMessageError, InvalidSessionError
from sessionstore.models.classes import SessionMessage, ToolCall

__all__ = [
    "decode_message",
    "decode_messages",
    "decode_metadata",
    "encode_message",
    "encode_metadata",
    "merge_metadata",
    "why_not_json",
]


def _plain(value: object) -> str | float:
    # A subclass is stored as what it is one of: LangChain's TextAccessor, NumPy's float64.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder = msgspec.json.Decoder()
_message_decoder = msgspec.json.Decoder(SessionMessage)
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
_NEWER: set[bytes | str] = {b'{"v":', '{"v":'}
_metadata_decoder = msgspec.json.Decoder(dict[str, Any])


def encode_message(message: SessionMessage) -> bytes:
    """Turn a message into the JSON that stores keep.

    Args:
        message: The message.

    Returns:
        One JSON object, in UTF-8.

    Raises:
        InvalidMessageError: A field has the wrong type, or holds what JSON can't: it would come
            back as something else.
    """
    try:
        encoded = _encoder.encode(message)
        # The common message is all text: its few fields are checked here, without decoding it.
        if (
            type(message.content) is str
            and message.tool_calls == []
            and message.metadata == {} == message.extra
            and type(message.role) is str
            and (message.name is None or type(message.name) is str)
            and (message.tool_call_id is None or type(message.tool_call_id) is str)
            and (message.id is None or type(message.id) is str)
            and type(message.created_at) is datetime
        ) or _message_decoder.decode(encoded) == message:
            return encoded
    except msgspec.ValidationError as error:  # it names types and fields, never values
        hint = _CALL if "$.tool_calls" in str(error) else ""
        raise InvalidMessageError(f"message {message.id!r} is not valid: {error}{hint}") from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidMessageError(_unfit(message) or _WRONG_TYPE.format(message.id)) from error
    if unfit := _unfit(message):
        raise InvalidMessageError(unfit)
    return encoded


def decode_message(raw: bytes | str) -> SessionMessage:
    """Read a message back from its JSON.

    Args:
        raw: What `encode_message` gave, as bytes or text.

    Returns:
        The message, equal to the one that was encoded.

    Raises:
        CorruptMessageError: These are not the bytes of a message, or a newer version wrote them.
    """
    newer = False
    try:
        newer = raw[:5] in _NEWER
        if not newer:
            return _message_decoder.decode(raw)
    except _UNREADABLE:
        pass  # it may quote the data, so that it must be no part of the error's chain
    if newer:
        msg = "a stored message was written by a newer version of sessionstore: upgrade it"
        raise CorruptMessageError(msg)
    raise CorruptMessageError("a stored message can't be read")


def decode_messages(session_id: str, raws: Iterable[bytes | str]) -> list[SessionMessage]:
    """Read a session's messages, in the order given.

    Args:
        session_id: Named by the error.
        raws: The stored messages.

    Returns:
        The messages.

    Raises:
        CorruptMessageError: One of them can't be read.
    """
    raws = list(raws)
    try:
        if _NEWER.isdisjoint({raw[:5] for raw in raws}):
            return list(map(_message_decoder.decode, raws))
    except _UNREADABLE:
        pass  # which one it is, and why, is told below
    why = ""
    try:
        return [decode_message(raw) for raw in raws]
    except CorruptMessageError as error:
        why = str(error)
    raise CorruptMessageError(f"session {session_id!r}: {why}")


def encode_metadata(metadata: dict[str, Any]) -> bytes:
    """Turn a session's metadata into JSON.

    Args:
        metadata: A JSON object.

    Returns:
        The JSON, in UTF-8.

    Raises:
        InvalidSessionError: It is not a dict, or holds what JSON can't.
    """
    if not isinstance(metadata, dict):
        kind = type(metadata).__name__
        raise InvalidSessionError(f"metadata must be a dict, a JSON object, not {kind}")
    if why := why_not_json(metadata):
        raise InvalidSessionError(f"metadata must be a JSON object; this holds {why}")
    return _encoder.encode(metadata)


def decode_metadata(raw: bytes | str) -> dict[str, Any]:
    """Read a session's metadata back from its JSON.

    Args:
        raw: What `encode_metadata` gave.

    Returns:
        The metadata.

    Raises:
        CorruptMessageError: These are not the bytes of metadata.
    """
    try:
        return _metadata_decoder.decode(raw)
    except _UNREADABLE:
        pass  # as in decode_message
    raise CorruptMessageError("a session's stored metadata can't be read")


def merge_metadata(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge changes into metadata: the keys given replace, and ``None`` takes a key away.

    Args:
        old: What is there.
        changes: The keys to set, and those to remove.

    Returns:
        The merged metadata. Neither argument is changed.
    """
    removed = {key for key, value in changes.items() if value is None}
    return {key: value for key, value in {**old, **changes}.items() if key not in removed}


def why_not_json(value: object) -> str:
    """Say what in a value is not JSON, so that it would come back as something else.

    A tuple passes, and comes back as a list.

    Args:
        value: Any value.

    Returns:
        What JSON can't hold, by its type and never by its content; ``""`` where all is well.
    """
    try:
        return _misfit(value)
    except RecursionError:
        return "data nested too deep"


def _misfit(value: object) -> str:
    try:
        if _decoder.decode(_encoder.encode(value)) == value:
            return ""
    except UnicodeEncodeError:
        return "text that is not valid Unicode"
    except (TypeError, ValueError, OverflowError):
        return _first_misfit(value) or "a value of an unknown type"
    return _first_misfit(value)


_CALL = '. A tool call is {"id": "…", "name": "…", "args": {…}}'
_WRONG_TYPE = "message {!r} is not valid: a field has the wrong type, or is no valid Unicode"


def _unfit(message: SessionMessage) -> str:
    texts = [text for text in (message.name, message.tool_call_id) if text is not None]
    if not all(isinstance(text, str) for text in (message.role, *texts)):
        return _WRONG_TYPE.format(message.id)  # written as text, it would come back as that
    for field in ("content", "tool_calls", "metadata", "extra"):
        if why := why_not_json(getattr(message, field)):
            return f"message {message.id!r} can't be stored as JSON: its {field} holds {why}"
    calls = message.tool_calls
    if not isinstance(calls, (list, tuple)) or not all(isinstance(call, dict) for call in calls):
        return f"message {message.id!r} has tool calls that are not a list of dicts"
    if any(call.keys() - ToolCall.__annotations__.keys() for call in calls):
        return f"message {message.id!r} has a tool call with more than name, args and id"
    return ""


def _first_misfit(value: object) -> str:
    if value is None or isinstance(value, (str, bool, int)):
        return ""
    if isinstance(value, float):
        return "" if value - value == 0 else f"the number {value}"
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(_first_misfit, value)), "")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return "a key that is not a string"
        return next(filter(None, map(_first_misfit, value.values())), "")
    return f"a value of type {type(value).__name__}"
