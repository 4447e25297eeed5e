"""LlamaIndex's messages as `SessionMessage`, and back: nothing is lost, nothing is executed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from llama_index.core.base.llms.types import (
    BaseContentBlock,
    ChatMessage,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from pydantic_core import PydanticSerializationError

from llama_index_sessionstore.blocks import block_of, dump_of, with_declared
from llama_index_sessionstore.values import data_of, declared_beyond
from sessionstore import CorruptMessageError, InvalidMessageError, SessionMessage, ToolCall
from sessionstore.binary import tag_bytes, untag_bytes
from sessionstore.forms.llama_index import (
    AND,
    BLOCK,
    BLOCKS,
    CALL,
    CONTENT,
    DECLARED,
    KWARGS,
    encoded_message,
)
from sessionstore.forms.llama_index_blocks import Block, from_standard, placeholder
from sessionstore.integration import built
from sessionstore.models import require_opened

__all__ = ["to_llama_index", "to_llama_index_messages", "to_session", "to_session_messages"]

_ROLES = {
    **{role.value: role for role in MessageRole},
    "human": MessageRole.USER,
    "ai": MessageRole.ASSISTANT,
}
_USER = MessageRole.USER  # to look an enum's member up takes as long as to look up its role
_CALLS = ("tool_call", "tool_use", "function_call")

# A ChatMessage has no id. The message that was stored goes along with the one that is read, where
# neither the framework's own comparisons nor its dumps look, and its copies take it with them.
_STORED = "_session_message"
_CALL_FIELDS = {"tool_call_id", "tool_name", "tool_kwargs"}
_TEXT = dict(TextBlock(text="").__dict__)


def to_session(message: ChatMessage) -> SessionMessage:
    """Give the `SessionMessage` that holds all of a LlamaIndex message.

    A message that was read from a store and not changed since is the one that is stored there,
    with all that another framework knows of it.

    Example:
        >>> from llama_index.core.llms import ChatMessage
        >>> from llama_index_sessionstore import to_session
        >>> to_session(ChatMessage("Hello!"))
        SessionMessage(role='user', id=None, content=<6 characters>)

    Args:
        message: The message.

    Returns:
        The message in the words of no framework. A Pydantic model beside what was said is kept as
        its ``model_dump(mode="json")`` and comes back as that data; bytes come back as bytes. Where
        an application derived a class from a message or a block, LlamaIndex's own comes back, with
        what the derived one declares as attributes.

    Warns:
        UserWarning: Once for each derived class that declares fields; and where such a field is
            left out, since it is neither JSON nor bytes.

    Raises:
        InvalidMessageError: It is no `ChatMessage`, or pydantic can't dump it, as where it is
            nested very deep. (What JSON can't hold is refused when the message is stored.)
    """
    if not isinstance(message, ChatMessage):
        raise InvalidMessageError(f"a message must be a ChatMessage, not {type(message).__name__}")
    stored = message.__dict__.get(_STORED)
    try:
        if stored is not None and to_llama_index(stored) == message:
            return stored  # type: ignore[no-any-return]
        encoded = tag_bytes(
            encoded_message(
                message.role.value,
                data_of(message.additional_kwargs) if message.additional_kwargs else {},
                [dump_of(block) for block in message.blocks],
                _declared(message, stored),
            )
        )
    except (PydanticSerializationError, RecursionError):  # which may quote the message
        raise InvalidMessageError(
            f"a message of the role {message.role.value!r} can't be stored as JSON: "
            "it is nested too deep, or pydantic can't dump it"
        ) from None
    if stored is None:
        return encoded
    return msgspec.structs.replace(
        encoded, id=stored.id, created_at=stored.created_at, metadata=stored.metadata
    )


def to_llama_index(message: SessionMessage) -> ChatMessage:
    """Give back the LlamaIndex message that a `SessionMessage` holds.

    What another framework wrote comes in LlamaIndex's blocks; where it has none for a part of it,
    a text in brackets names that part. A role that LlamaIndex does not know comes as ``user``; but
    ``ai`` as ``assistant``.

    Args:
        message: The stored message.

    Returns:
        A message equal to the one that `to_session` was given.

    Raises:
        InvalidMessageError: It is not a `SessionMessage`.
        CorruptMessageError: What it says of LlamaIndex is not what `to_session` writes.
        DecryptionError: It is encrypted, and was read without its keys.
    """
    if not isinstance(message, SessionMessage):
        kind = type(message).__name__
        raise InvalidMessageError(f"a stored message must be a SessionMessage, not {kind}")
    require_opened(message)
    try:
        return _decoded(message)
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError):
        pass  # it may quote the message, so that it must be no part of the error's chain
    raise CorruptMessageError(
        f"message {message.id!r} can't be read as LlamaIndex's: its extra['llama_index'] is damaged"
    )


def to_session_messages(messages: Iterable[ChatMessage]) -> list[SessionMessage]:
    """Give the `SessionMessage` of each message: see `to_session`.

    Args:
        messages: LlamaIndex messages.

    Returns:
        One for each, in the same order.

    Raises:
        InvalidMessageError: One of them is no `ChatMessage`.
    """
    if isinstance(messages, ChatMessage):  # which can be gone through: by its fields
        raise InvalidMessageError("messages must be a list of messages: give [message]")
    return [to_session(message) for message in messages]


def to_llama_index_messages(messages: Iterable[SessionMessage]) -> list[ChatMessage]:
    """Give back the LlamaIndex message of each: see `to_llama_index`.

    Args:
        messages: Stored messages.

    Returns:
        One for each, in the same order.
    """
    return [to_llama_index(message) for message in messages]


# -- Writing --------------------------------------------------------------------------------------


def _declared(message: ChatMessage, stored: SessionMessage | None) -> Block:
    if type(message) is not ChatMessage:
        return declared_beyond(message, ChatMessage)
    if stored is None or not stored.extra:
        return {}
    known: Block = untag_bytes(stored).extra.get("llama_index") or {}
    return known.get(DECLARED) or {}


# -- Reading --------------------------------------------------------------------------------------


def _decoded(message: SessionMessage) -> ChatMessage:
    stored = message
    if message.extra:
        message = untag_bytes(message)
    extra: dict[str, Any] = (message.extra and message.extra.get("llama_index")) or {}
    kwargs = dict(extra.get(KWARGS) or ()) if extra else {}
    if message.name is not None:
        kwargs["name"] = message.name
    if message.tool_call_id is not None:
        kwargs["tool_call_id"] = message.tool_call_id
    values = {
        "role": _ROLES.get(message.role, _USER),
        "additional_kwargs": kwargs,
        "blocks": _blocks(message, extra.get(BLOCKS)),
        _STORED: stored,
    }
    if DECLARED in extra:
        values = with_declared(ChatMessage, values, extra[DECLARED])
    return built(ChatMessage, values, {"role", "additional_kwargs", "blocks"})


def _blocks(message: SessionMessage, made_of: list[Any] | None) -> list[BaseContentBlock]:
    content = message.content
    if made_of is None and isinstance(content, str) and not message.tool_calls:
        fields = _TEXT.copy()
        fields["text"] = content
        return [built(TextBlock, fields, {"text"})]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if made_of is not None:
        try:
            return [_put_together(entry, parts, message.tool_calls) for entry in made_of]
        except (IndexError, KeyError, TypeError):
            pass  # somebody has replaced the content since
    return _in_order(parts if content != "" else [], message.tool_calls)


def _in_order(parts: list[Block], calls: list[ToolCall]) -> list[BaseContentBlock]:
    """Give the blocks of a content and its tool calls, these where the content has them."""
    left = {call["id"]: call for call in calls if call["id"] is not None}
    blocks: list[BaseContentBlock] = []
    for part in parts:
        if part.get("type") in _CALLS:
            call = left.pop(str(part.get("id") or part.get("call_id")), None)
            if call:
                blocks.append(_call_block(call))
        else:
            blocks.append(_read(part))
    rest = [call for call in calls if call["id"] is None or call["id"] in left]
    return [*blocks, *map(_call_block, rest)]


def _put_together(entry: Any, parts: list[Block], calls: list[ToolCall]) -> BaseContentBlock:
    if isinstance(entry, int):
        return _read(parts[entry])
    if CONTENT in entry:
        dump = {**(from_standard(parts[entry[CONTENT]]) or {}), **entry[AND]}
        known = block_of({key: value for key, value in dump.items() if value is not None})
        return known or _read(parts[entry[CONTENT]])
    if CALL in entry:
        return _call_block(calls[entry[CALL]], entry.get(AND))
    return block_of(entry[BLOCK]) or TextBlock(text=placeholder(entry[BLOCK]))


def _read(part: Block) -> BaseContentBlock:
    dump = from_standard(part)
    return (block_of(dump) if dump else None) or TextBlock(text=placeholder(part))


def _call_block(call: ToolCall, beyond: Block | None = None) -> ToolCallBlock:
    beyond = beyond or {}
    fields = {
        "block_type": "tool_call",
        "tool_call_id": call["id"],
        "tool_name": call["name"],
        "tool_kwargs": beyond.get("tool_kwargs", call["args"]),
    }
    declared = beyond.get(DECLARED)
    return built(
        ToolCallBlock,
        with_declared(ToolCallBlock, fields, declared) if declared else fields,
        _CALL_FIELDS,
    )
