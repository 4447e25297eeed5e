"""LangChain's messages, as the JSON of their fields, in the words of `SessionMessage`; and back.

What `SessionMessage` has no place for is under ``extra["langchain"]``, by the names of the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sessionstore.binary import tag_bytes, untag_bytes
from sessionstore.forms.faults import FormError
from sessionstore.models import ROLE_NAMES, SessionMessage, ToolCall

__all__ = [
    "CALL_EXTRAS",
    "CALL_FIELDS",
    "FOREIGN",
    "INVALID_CALLS",
    "KINDS",
    "ROLES",
    "STRINGS",
    "UNKNOWN",
    "blocks_of",
    "calls_of",
    "data_of",
    "message_of",
    "with_call_extras",
    "with_strings",
]

ROLES = {
    "human": "user",
    "ai": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "function",
    "remove": "remove",
}
"""The role for each type of message, but for ``chat``, whose messages name theirs."""

FOREIGN = {"developer": "system", "chatbot": "ai", "model": "ai"}
"""LlamaIndex's words for a developer's, a Cohere model's and a Gemini model's message."""

KINDS = {**{role: kind for kind, role in ROLES.items()}, **FOREIGN}
"""The type of message for each role; ``chat`` for any other."""

UNKNOWN, STRINGS = "model_extra", "strings"
INVALID_CALLS, CALL_EXTRAS = "invalid_tool_calls", "call_extras"
CALL_FIELDS = {"name", "args", "id"}

_CHUNKS = {
    "AIMessageChunk": "ai",
    "HumanMessageChunk": "human",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
    "FunctionMessageChunk": "function",
    "ChatMessageChunk": "chat",
}
_CARRIED = {"type", "content", "id", "name"}
_OF_CHUNKS = {"tool_call_chunks", "chunk_position"}
_CARRIED_BY = {"ai": {"tool_calls"}, "tool": {"tool_call_id"}, "chat": {"role"}}
# The other fields of each type: what they are when nothing is said, and what they have to be.
_ALL: dict[str, tuple[Any, Any]] = {
    "additional_kwargs": ({}, dict),
    "response_metadata": ({}, dict),
}
_REST: dict[str, dict[str, tuple[Any, Any]]] = {
    "ai": {INVALID_CALLS: ([], list), "usage_metadata": (None, dict)},
    "tool": {"artifact": (None, object), "status": ("success", str)},
}


def message_of(kind: object, data: object) -> SessionMessage:
    """Give the message that LangChain's ``message_to_dict`` made this of.

    Args:
        kind: Its ``type``.
        data: Its ``data``: the fields of the message.

    Returns:
        The message as LangChain's integration stores it, with the id that it has there or none. A
        chunk is kept as the full message that it is a part of.

    Raises:
        FormError: It is no such message.
    """
    if not isinstance(data, Mapping):
        raise FormError("a message's data is not a JSON object")
    kind = _CHUNKS.get(kind, kind) if isinstance(kind, str) else kind
    if not isinstance(kind, str) or (kind not in ROLES and kind != "chat"):
        raise FormError("a message's type is none of LangChain's")
    fields = _with_parsed_calls(data) if kind == "ai" else data
    extra = _rest_of(kind, fields)
    role = ROLES.get(kind) or _text(fields, "role")
    if kind == "chat" and (role in KINDS or role in ROLE_NAMES):
        extra["type"] = kind
    if role in ROLE_NAMES:  # a store would take it for the other one
        extra["role"], role = role, ROLE_NAMES[role]
    content = _content(fields.get("content"), extra)
    calls = _calls(fields.get("tool_calls"), extra) if kind == "ai" else []
    stored = SessionMessage(
        role,
        content,
        id=_optional(fields, "id") or None,
        name=_optional(fields, "name"),
        tool_calls=calls,
        tool_call_id=_call_id(fields) if kind == "tool" else None,
        extra={"langchain": extra} if extra else {},
    )
    return tag_bytes(stored)


def data_of(message: SessionMessage) -> dict[str, Any]:
    """Give what LangChain's ``message_to_dict`` would give of a message.

    Args:
        message: The message, whoever wrote it.

    Returns:
        ``{"type": …, "data": …}``, for LangChain's ``messages_from_dict``.
    """
    message = untag_bytes(message)
    extra = dict(message.extra.get("langchain") or {})
    kind = extra.pop("type", None) or KINDS.get(message.role, "chat")
    strings, more = extra.pop(STRINGS, None), extra.pop(CALL_EXTRAS, None)
    data: dict[str, Any] = {**extra.pop(UNKNOWN, {}), **extra, "type": kind, "id": message.id}
    data["content"] = with_strings(message.content, strings) if strings else message.content
    if message.name is not None or kind == "function":
        data["name"] = message.name or ""
    if kind == "ai" and message.tool_calls:
        calls: list[Any] = [{**call, "type": "tool_call"} for call in message.tool_calls]
        data["tool_calls"] = with_call_extras(message, more) if more else calls
    elif kind == "tool":
        data["tool_call_id"] = message.tool_call_id or ""
    elif kind == "chat":
        data.setdefault("role", message.role)
    return {"type": kind, "data": data}


# -- What the integration shares ------------------------------------------------------------------


def blocks_of(content: list[Any], extra: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a content's blocks; where some are text alone, which these are is put into ``extra``."""
    strings = [place for place, block in enumerate(content) if isinstance(block, str)]
    if not strings:
        return content
    extra[STRINGS] = strings
    return [{"type": "text", "text": b} if isinstance(b, str) else b for b in content]


def with_strings(content: Any, strings: Sequence[int]) -> Any:
    """Give back the content that `blocks_of` was given."""
    # Somebody may have replaced the content since: what is no such block any more is left as it is.
    if not isinstance(content, list):
        return content
    return [
        block["text"] if place in strings and block.keys() == {"type", "text"} else block
        for place, block in enumerate(content)
    ]


def calls_of(calls: Sequence[Any], extra: dict[str, Any]) -> list[ToolCall]:
    """Give a message's tool calls; what each has beyond name, arguments and id goes into extra."""
    odd = [{key: value for key, value in call.items() if key not in CALL_FIELDS} for call in calls]
    if any(more != {"type": "tool_call"} for more in odd):
        extra[CALL_EXTRAS] = odd
    return [
        {"name": call.get("name"), "args": call.get("args"), "id": call.get("id")} for call in calls
    ]


def with_call_extras(message: SessionMessage, extras: Sequence[Any]) -> list[dict[str, Any]]:
    """Give back the tool calls that `calls_of` was given, where their number is the same."""
    if len(extras) != len(message.tool_calls):
        return [{**call, "type": "tool_call"} for call in message.tool_calls]
    return [
        {**call, **{key: more[key] for key in more if key not in CALL_FIELDS}}
        for call, more in zip(message.tool_calls, extras, strict=True)
    ]


# -- The fields of a message ----------------------------------------------------------------------


def _rest_of(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    known = {**_ALL, **_REST.get(kind, {})}
    rest: dict[str, Any] = {}
    for name, (default, expected) in known.items():
        value = fields.get(name, default)
        if value is None or value == default:
            continue
        if not isinstance(value, expected):
            raise FormError(f"a message's {name} has the wrong type")
        rest[name] = value
    if not all(isinstance(call, dict) for call in rest.get(INVALID_CALLS, ())):
        raise FormError("a message's invalid_tool_calls has the wrong type")
    known_elsewhere = _CARRIED | _OF_CHUNKS | _CARRIED_BY.get(kind, set())
    unknown = {
        name: value
        for name, value in fields.items()
        if name not in known
        and name not in known_elsewhere
        and not (name == "example" and not value)  # the default of a field of older versions
    }
    return {**rest, UNKNOWN: unknown} if unknown else rest


def _content(content: Any, extra: dict[str, Any]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(block, (str, dict)) for block in content):
        return blocks_of(content, extra)
    raise FormError("a message's content is neither text nor a list of blocks")


def _calls(calls: Any, extra: dict[str, Any]) -> list[ToolCall]:
    if not calls:
        return []
    if not isinstance(calls, list) or not all(map(_is_call, calls)):
        raise FormError("a message's tool_calls are no list of calls")
    return calls_of([{**call, "type": "tool_call"} for call in calls], extra)


def _is_call(call: Any) -> bool:
    return (
        isinstance(call, dict)
        and isinstance(call.get("name"), str)
        and isinstance(call.get("args"), dict)
        and isinstance(call.get("id"), (str, type(None)))
    )


def _with_parsed_calls(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a message its calls where it has them in OpenAI's form alone, as LangChain does."""
    kwargs = fields.get("additional_kwargs")
    raw = kwargs.get("tool_calls") if isinstance(kwargs, dict) else None
    if not raw or fields.get("tool_calls") or fields.get(INVALID_CALLS):
        return fields
    calls: list[Any] = []
    invalid: list[Any] = []
    try:
        for call in raw:
            _parse(call, calls, invalid)
    except (TypeError, KeyError, AttributeError):
        return fields
    return {**fields, "tool_calls": calls, INVALID_CALLS: invalid}


def _parse(call: Any, calls: list[Any], invalid: list[Any]) -> None:
    if "function" not in call:
        return
    name, given = call["function"]["name"], call["function"]["arguments"]
    try:
        args = msgspec.json.decode(given) or {}
    except (msgspec.DecodeError, RecursionError):
        error = {"name": name, "args": given, "id": call.get("id"), "error": None}
        invalid.append({"type": "invalid_tool_call", **error})
        return
    calls.append({"name": name or "", "args": args, "id": call.get("id")})


def _call_id(fields: Mapping[str, Any]) -> str:
    given = fields.get("tool_call_id")
    if isinstance(given, (str, int, float)):
        return str(given)
    raise FormError("a tool's message has no tool_call_id")


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, str):
        return value
    raise FormError(f"a message's {name} is not text")


def _optional(fields: Mapping[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)
