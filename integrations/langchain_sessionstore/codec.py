"""LangChain's messages as `SessionMessage`, and back: nothing is lost, nothing is executed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from langchain_core.messages import (
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessageChunk,
    HumanMessageChunk,
    SystemMessageChunk,
    ToolMessageChunk,
)

from langchain_sessionstore.templates import CLASSES, TEMPLATES, Template
from langchain_sessionstore.values import declared_beyond, json_of
from sessionstore import CorruptMessageError, InvalidMessageError, SessionMessage
from sessionstore.binary import tag_bytes, untag_bytes, why_not_kept
from sessionstore.forms.langchain import (
    CALL_EXTRAS,
    FOREIGN,
    INVALID_CALLS,
    KINDS,
    ROLES,
    STRINGS,
    UNKNOWN,
    blocks_of,
    calls_of,
    with_call_extras,
    with_strings,
)
from sessionstore.integration import built
from sessionstore.models import ROLE_NAMES, require_opened
from sessionstore.window.turns import is_made_up

__all__ = [
    "asks_for_tools",
    "to_langchain",
    "to_langchain_messages",
    "to_session",
    "to_session_messages",
]

_KIND_OF: dict[type[BaseMessage], str] = {
    **{cls: kind for kind, cls in CLASSES.items()},
    HumanMessageChunk: "human",
    AIMessageChunk: "ai",
    SystemMessageChunk: "system",
    ToolMessageChunk: "tool",
    FunctionMessageChunk: "function",
    ChatMessageChunk: "chat",
}

# What another framework knows of a message goes along where neither LangChain's comparisons nor
# its dumps look, and copies take it with them.
_STORED = "_session_message"


_OF_PLAIN = {ROLES[kind]: TEMPLATES[kind] for kind in ("human", "ai", "system")}


def to_session(message: BaseMessage) -> SessionMessage:
    """Give the `SessionMessage` that holds all of a LangChain message.

    A chunk is kept as the full message that it is a part of. A Pydantic model beside what was said,
    such as a provider's ``additional_kwargs["parsed"]`` or a tool's `Document`, is kept as its
    ``model_dump(mode="json")`` and comes back as that data: what is stored is never imported. Bytes
    are kept, and come back as bytes. A message that another framework wrote, and that was not
    changed since it was read, is the one that is stored, with all that the other framework knows of
    it.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> from langchain_sessionstore import to_session
        >>> to_session(HumanMessage("Hello!", id="m1"))
        SessionMessage(role='user', id='m1', content=<6 characters>)

    Args:
        message: A message of any class of langchain-core, or of a class derived from one; the
            latter comes back as the class of langchain-core, with the fields that its class
            declares as extras: ``message.field`` is as before, ``isinstance`` is not.

    Returns:
        The message in the words of no framework. It shares content with the original.

    Raises:
        InvalidMessageError: The message is of no class that langchain-core knows. (What JSON
            can't hold is refused when the message is stored.)

    Warns:
        UserWarning: A tool's artifact, or a field that a derived class declares, is not JSON: it is
            left out. No model sees them. And once for each derived class that declares fields.
    """
    if not isinstance(message, BaseMessage):
        raise InvalidMessageError(f"a message must be a BaseMessage, not {type(message).__name__}")
    kind = _KIND_OF.get(type(message)) or _kind_derived(message)
    fields = message.__dict__
    stored = fields.get(_STORED)
    if stored is not None and to_langchain(stored) == message:
        return stored  # type: ignore[no-any-return]
    extra = _rest_of(message, kind)
    role = ROLES.get(kind) or fields["role"]
    if kind == "chat" and (role in KINDS or role in ROLE_NAMES):
        extra["type"] = kind
    if role in ROLE_NAMES:  # a store would take it for the other one
        extra["role"], role = role, ROLE_NAMES[role]
    content = fields["content"]
    if type(content) is list:
        content = blocks_of(content, extra)
    stored = SessionMessage(
        role,
        content,
        id=message.id or None,
        name=message.name,
        tool_calls=calls_of(fields["tool_calls"], extra) if fields.get("tool_calls") else [],
        tool_call_id=fields.get("tool_call_id"),
        extra={"langchain": extra} if extra else {},
    )
    return tag_bytes(stored)


def to_langchain(message: SessionMessage) -> BaseMessage:
    """Give back the LangChain message that a `SessionMessage` holds.

    A message that another framework wrote comes as the class for its role; a role that LangChain
    has no class for comes as a `ChatMessage`.

    Args:
        message: The stored message.

    Returns:
        A message equal to the one that `to_session` was given.

    Raises:
        InvalidMessageError: It is not a `SessionMessage`.
        CorruptMessageError: Its extras for LangChain are not what `to_session` writes.
        DecryptionError: It is encrypted, and was read without its keys.
    """
    if not isinstance(message, SessionMessage):
        kind = type(message).__name__
        raise InvalidMessageError(f"a stored message must be a SessionMessage, not {kind}")
    if _is_plain(message) and (plain := _OF_PLAIN.get(message.role)):
        return built(plain.cls, plain.filled_in(message), {"content", "id"}, {})
    require_opened(message)
    try:
        return _read(message, untag_bytes(message))
    except (TypeError, ValueError, AttributeError, LookupError):
        pass  # it may quote the message, so that it must be no part of the error's chain
    raise CorruptMessageError(
        f"message {message.id!r} can't be read as LangChain's: its extra['langchain'] is damaged"
    )


def _read(stored: SessionMessage, message: SessionMessage) -> BaseMessage:
    extra: dict[str, Any] = message.extra.get("langchain") or {}
    kind = extra.get("type") or KINDS.get(message.role, "chat")
    template = TEMPLATES.get(kind) or TEMPLATES["chat"]
    values = template.filled_in(message)
    given = {"content", "id"}
    if message.name is not None:
        values["name"] = message.name
        given.add("name")
    if kind == "ai":
        if message.tool_calls:
            values["tool_calls"] = [{**call, "type": "tool_call"} for call in message.tool_calls]
            given.add("tool_calls")
    elif kind == "tool":
        _set_result(values, given, message)
    elif kind == "function":
        values["name"] = message.name or ""
    elif template.cls is ChatMessage:
        values["role"] = message.role
        given.add("role")
    unknown: dict[str, Any] = {}
    if extra:
        unknown = _fill_in(template, values, given, extra, message)
    elif _is_foreign(message, kind):
        values[_STORED] = stored
        _set_foreign(values, given, message, kind)
    return built(template.cls, values, given, unknown)


def to_session_messages(messages: Iterable[BaseMessage]) -> list[SessionMessage]:
    """Give the `SessionMessage` of each message: see `to_session`.

    Args:
        messages: LangChain messages.

    Returns:
        One for each, in the same order.

    Raises:
        InvalidMessageError: It is not a list, or one of it is no message that langchain-core knows.
    """
    if isinstance(messages, BaseMessage):  # which can be gone through: by its fields
        raise InvalidMessageError("messages must be a list of messages: give [message]")
    return [to_session(message) for message in messages]


def to_langchain_messages(messages: Iterable[SessionMessage]) -> list[BaseMessage]:
    """Give back the LangChain message of each: see `to_langchain`.

    Args:
        messages: Stored messages.

    Returns:
        One for each, in the same order.

    Raises:
        InvalidMessageError: One of them is not a `SessionMessage`.
    """
    return [to_langchain(message) for message in messages]


def asks_for_tools(messages: Iterable[SessionMessage]) -> bool:
    """Tell whether one of the messages asks for tools, be it in words that are no valid call.

    Args:
        messages: Stored messages.

    Returns:
        Whether LangChain's messages that they hold may have calls; where not, none has.
    """
    asking = [
        message
        for message in messages
        if message.tool_calls
        or (message.extra and INVALID_CALLS in (message.extra.get("langchain") or ()))
    ]
    return bool(asking)


def _kind_derived(message: BaseMessage) -> str:
    kind = _KIND_OF.get(_base_of(message), message.type)
    if kind not in TEMPLATES:
        raise InvalidMessageError(
            f"{type(message).__name__} is not a message class of langchain-core"
        )
    return kind


def _base_of(message: BaseMessage) -> type[BaseMessage]:
    return next((cls for cls in type(message).__mro__ if cls in _KIND_OF), BaseMessage)


def _rest_of(message: BaseMessage, kind: str) -> dict[str, Any]:
    fields, template = message.__dict__, TEMPLATES[kind]
    rest: dict[str, Any] = {}
    for name in template.rest:
        default = template.values[name]
        value = fields.get(name, default)
        if name != "artifact" and value != default:
            rest[name] = value
    unknown = message.model_extra or {}
    if type(message) not in _KIND_OF:
        unknown = {**declared_beyond(message, _base_of(message)), **unknown}
    if unknown:
        rest[UNKNOWN] = dict(unknown)
    if rest:
        rest = json_of(rest)
    if fields.get("artifact") is not None:
        _add_artifact(rest, fields["artifact"])
    return rest


def _add_artifact(rest: dict[str, Any], artifact: object) -> None:
    artifact = json_of(artifact)
    if why := why_not_kept(artifact):
        msg = f"a tool's artifact is not kept, since it is not JSON: it holds {why}"
        warnings.warn(msg, UserWarning, stacklevel=2)
    else:
        rest["artifact"] = artifact


def _is_plain(message: SessionMessage) -> bool:
    """Tell whether a message is its role, its content and its id: nearly all are."""
    return not (
        message.extra
        or message.tool_calls
        or message.name is not None
        or message.tool_call_id is not None
    )


def _set_result(values: dict[str, Any], given: set[str], message: SessionMessage) -> None:
    values["tool_call_id"] = message.tool_call_id or ""
    given.add("tool_call_id")
    if message.metadata and is_made_up(message):
        values["status"] = "error"
        given.add("status")


def _fill_in(
    template: Template,
    values: dict[str, Any],
    given: set[str],
    extra: dict[str, Any],
    message: SessionMessage,
) -> dict[str, Any]:
    """Set what only LangChain knows, and give what this version of it has no field for."""
    unknown: dict[str, Any] = {}
    for name, value in extra.items():
        if name == "type":
            continue
        if name == STRINGS:
            values["content"] = with_strings(message.content, value)
        elif name == CALL_EXTRAS:
            # Where they are as LangChain wrote them, in a message that can have some.
            if "tool_calls" in values and len(value) == len(message.tool_calls):
                values["tool_calls"] = with_call_extras(message, value)
        elif name == UNKNOWN:
            unknown |= {**value}
        elif name in values:
            if not isinstance(value, template.types[name]):
                raise TypeError(name)
            if name == INVALID_CALLS and not all(isinstance(call, dict) for call in value):
                raise TypeError(name)
            values[name] = value
            given.add(name)
        else:
            unknown[name] = value
    return unknown


def _is_foreign(message: SessionMessage, kind: str) -> bool:
    """Tell whether LangChain can't have written a message: its class has other fields."""
    return (
        bool(message.extra)
        or message.role in FOREIGN
        or (kind != "ai" and bool(message.tool_calls))
        or (message.tool_call_id is None) is (kind == "tool")
        or (kind == "function" and message.name is None)
    )


def _set_foreign(
    values: dict[str, Any], given: set[str], message: SessionMessage, kind: str
) -> None:
    """Set what LangChain is to know of a message that another framework wrote."""
    if message.role == "developer":
        values["additional_kwargs"] = {"__openai_role__": "developer"}
        given.add("additional_kwargs")
    if kind == "ai" and isinstance(message.content, list):
        # Its blocks are the standard ones: this is what says so to LangChain's models.
        values["response_metadata"] = {"output_version": "v1"}
        given.add("response_metadata")
