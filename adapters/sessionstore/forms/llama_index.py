"""LlamaIndex's messages, as the JSON of their fields, in the words of `SessionMessage`.

Under ``extra["llama_index"]`` are the other keywords of a message, and what its blocks are made of,
in their order, where that is not its content and then its tool calls. Each of these is the place of
a standard block in the content, or one of

- ``{"content": place, "and": fields}``: a standard block, and what is beyond its words
- ``{"call": place, "and": fields}``: a tool call
- ``{"block": fields}``: what there is no standard word for
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sessionstore.binary import tag_bytes
from sessionstore.forms.faults import FormError
from sessionstore.forms.llama_index_blocks import Block, from_standard, placeholder, to_standard
from sessionstore.models import SessionMessage, ToolCall

__all__ = [
    "AND",
    "BLOCK",
    "BLOCKS",
    "CALL",
    "CONTENT",
    "DECLARED",
    "KWARGS",
    "encoded_message",
    "message_of",
]

KWARGS, BLOCKS = "additional_kwargs", "blocks"
CONTENT, CALL, BLOCK, AND = "content", "call", "block", "and"
DECLARED = "declared"
"""Under this: what the class declares that an application derived from a message or a block."""

_RESULTS = ("tool", "function")
_SAYS_SOMETHING = ("role", "content", BLOCKS, KWARGS)
_TOOL_CALL = "tool_call"


def message_of(data: object) -> SessionMessage:
    """Give the message that the JSON of a LlamaIndex message says.

    Args:
        data: What ``ChatMessage.model_dump(mode="json")`` gives, of this version of LlamaIndex or
            of one before messages had blocks.

    Returns:
        The message as LlamaIndex's integration stores it. It has no id.

    Raises:
        FormError: It is no such JSON.
    """
    if not isinstance(data, Mapping):
        raise FormError("a message is not a JSON object")
    if not any(name in data for name in _SAYS_SOMETHING):
        raise FormError("a message has no role and no content: it is another library's")
    role, kwargs = data.get("role", "user"), data.get(KWARGS) or {}
    if not isinstance(role, str) or not role:
        raise FormError("a message's role is not text")
    if not isinstance(kwargs, dict):
        raise FormError("a message's additional_kwargs are not a JSON object")
    return tag_bytes(encoded_message(role, dict(kwargs), _dumps_of(data)))


def encoded_message(
    role: str, kwargs: dict[str, Any], dumps: Sequence[Block], declared: Block | None = None
) -> SessionMessage:
    """Give the message that the parts of a LlamaIndex message say.

    Args:
        role: Its role.
        kwargs: Its other keywords, as data; they are changed.
        dumps: Its blocks, each the JSON of its fields without those at their defaults.
        declared: What a class declares that an application derived.

    Returns:
        The message. It has no id, and may hold bytes.
    """
    name = kwargs.pop("name") if isinstance(kwargs.get("name"), str) else None
    is_result = role in _RESULTS and isinstance(kwargs.get("tool_call_id"), str)
    tool_call_id = kwargs.pop("tool_call_id") if is_result else None
    blocks, calls, made_of = _taken_apart(dumps)
    content = _simplest(blocks)
    if calls == []:
        calls = _calls_in(kwargs)
    extra: dict[str, Any] = {KWARGS: kwargs} if kwargs else {}
    if made_of != _default(content, calls) or (role == "assistant" and isinstance(content, list)):
        extra[BLOCKS] = made_of
    if declared:
        extra[DECLARED] = declared
    return SessionMessage(
        role,
        content,
        name=name,
        tool_calls=calls,
        tool_call_id=tool_call_id,
        extra={"llama_index": extra} if extra else {},
    )


# -- The JSON of a message ------------------------------------------------------------------------


def _dumps_of(data: Mapping[str, Any]) -> list[Block]:
    blocks = data.get("blocks")
    if blocks is None:
        blocks = data.get("content")  # before messages had blocks
    if isinstance(blocks, str):
        blocks = [{"block_type": "text", "text": blocks}]
    if not isinstance(blocks, list) and blocks is not None:
        raise FormError("a message's content is neither text nor a list of blocks")
    return [_dump_of(block) for block in blocks or ()]


def _dump_of(block: object) -> Block:
    """Give a block without the fields that say nothing: models write their defaults, too."""
    if not isinstance(block, dict) or not isinstance(block.get("block_type", "text"), str):
        raise FormError("a message's block is not a JSON object with a block_type")
    kind = block.get("block_type", "text")
    if not isinstance(block.get(_REQUIRED.get(kind, ("block_type", str))[0], ""), str):
        raise FormError(f"a message's {kind} block has a field of the wrong type")
    kept = {key: value for key, value in block.items() if value not in _DEFAULTS}
    required = _REQUIRED.get(kind)
    if required:
        kept.setdefault(required[0], required[1]())
    field = _MEDIA.get(kind)
    if field is not None and isinstance(media := kept.get(field), str):
        kept[field] = _in_base64(media)
    return {"block_type": kind, **kept, **_nested(kind, block)}


_DEFAULTS: tuple[Any, ...] = (None, [], {})
_REQUIRED = {"text": ("text", str), _TOOL_CALL: ("tool_name", str)}


_MEDIA = {"image": "image", "audio": "audio", "video": "video", "document": "data"}


def _in_base64(media: str) -> str:
    """Give bytes as base64: what is none yet becomes so, as it does where LlamaIndex reads it."""
    try:
        base64.b64decode(media, validate=True)
    except ValueError:
        return base64.b64encode(media.encode(errors="surrogatepass")).decode()
    return media


def _nested(kind: str, block: Block) -> Block:
    if kind == "citable" and isinstance(block.get("content"), list):
        return {"content": [_dump_of(inner) for inner in block["content"]]}
    if kind == "citation" and "cited_content" in block:
        known = block.get("additional_location_info")  # there is no default for it
        more = {"additional_location_info": known} if known == {} else {}
        return {"cited_content": _dump_of(block["cited_content"]), **more}
    return {}


# -- The blocks of a message ----------------------------------------------------------------------


def _taken_apart(dumps: Sequence[Block]) -> tuple[list[Block], list[ToolCall], list[Any]]:
    """Give the standard blocks, the tool calls, and what each block is made of."""
    content: list[Block] = []
    calls: list[ToolCall] = []
    made_of: list[Any] = []
    for dump in dumps:
        if dump["block_type"] == _TOOL_CALL:
            made_of.append(_call_entry(dump, len(calls)))
            arguments = dump.get("tool_kwargs", {})
            calls.append(_call(dump["tool_name"], arguments, dump.get("tool_call_id")))
            continue
        standard = to_standard(dump)
        back = from_standard(standard) if standard else None
        if standard and back:
            beyond = _beyond(dump, back)
            place = len(content)
            made_of.append({CONTENT: place, AND: beyond} if beyond else place)
            content.append(standard)
        else:
            made_of.append({BLOCK: dump})
            if dump["block_type"] != "cache":  # it says nothing to a reader
                content.append({"type": "text", "text": placeholder(dump)})
    return content, calls, made_of


def _simplest(blocks: list[Block]) -> str | list[Block]:
    if not blocks:
        return ""
    first = blocks[0]
    return first["text"] if len(blocks) == 1 and first["type"] == "text" else blocks


def _default(content: str | list[Block], calls: list[ToolCall]) -> list[Any]:
    texts = 1 if isinstance(content, str) else len(content)
    if content == "" and calls:
        texts = 0
    return [*range(texts), *({CALL: place} for place in range(len(calls)))]


def _beyond(dump: Block, back: Block) -> Block:
    """Give the fields in which a block is not what its standard block says; ``None`` has none."""
    keys = [*dump, *(key for key in back if key not in dump)]
    return {key: dump.get(key) for key in keys if dump.get(key) != back.get(key)}


def _call_entry(dump: Block, place: int) -> Block:
    beyond: Block = {}
    if isinstance(dump.get("tool_kwargs"), str):
        beyond["tool_kwargs"] = dump["tool_kwargs"]
    if declared := dump.get(DECLARED):
        beyond[DECLARED] = declared
    return {CALL: place, AND: beyond} if beyond else {CALL: place}


def _call(name: str, arguments: Any, call_id: str | None) -> ToolCall:
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments or "{}")
        except (msgspec.DecodeError, RecursionError):
            arguments = {"arguments": arguments}
    return {
        "name": name,
        "args": arguments if isinstance(arguments, dict) else {"arguments": arguments},
        "id": call_id,
    }


def _calls_in(kwargs: dict[str, Any]) -> list[ToolCall]:
    """Give the calls that an integration wrote in OpenAI's form among a message's keywords."""
    try:
        return [
            _call(call["function"]["name"], call["function"]["arguments"], call.get("id"))
            for call in kwargs.get("tool_calls") or ()
        ]
    except (KeyError, TypeError, AttributeError):
        return []
