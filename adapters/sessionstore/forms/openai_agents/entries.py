"""What is kept of each item beside its message's words: an entry, under the message's extras.

The entry of an item names its form by ``as``, which says what its words amount to:

- ``text``, ``parts``: what somebody said, as a text or in parts
- ``output``: a model's message, as a response holds it
- ``thoughts``: its reasoning, ``summary`` texts of which are of its summary
- ``call``: a call, of the kind ``kind``
- ``item``: there are no words for it, so that the whole item is in the entry

``n`` is how many blocks of the content it takes, one where it is not said; each call takes one of
the tool calls. ``and``, ``without`` and ``parts`` are what the item has beyond: see `differences`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import msgspec

from sessionstore.forms.openai_agents.calls import FUNCTION, call_item, is_call, to_call
from sessionstore.forms.openai_agents.differences import beyond, put_together
from sessionstore.forms.openai_agents.parts import (
    Block,
    output_part,
    part_of,
    placeholder,
    to_block,
)
from sessionstore.forms.openai_agents.reading import plain_items, thought_of
from sessionstore.models import SessionMessage, ToolCall

__all__ = [
    "Known",
    "NotAsWrittenError",
    "entry_of",
    "is_message",
    "items_of",
    "result_entry",
    "result_item",
]

_TEXT, _PARTS, _OUTPUT = "text", "parts", "output"
_THOUGHTS, _CALL, _ITEM = "thoughts", "call", "item"


class NotAsWrittenError(Exception):
    """Somebody has replaced the words of a message since: its entries are of others."""


class Known(msgspec.Struct, frozen=True):
    """An item taken apart.

    Attributes:
        entry: What is kept beside its words.
        blocks: Its words, as content blocks.
        calls: Its call, if it is one.
        as_list: Its words are to stay a list.
    """

    entry: Block
    blocks: list[Block] = []
    calls: list[ToolCall] = []
    as_list: bool = False


def is_message(item: Block) -> bool:
    """Tell whether an item is what somebody said."""
    return isinstance(item.get("role"), str) and item.get("type", "message") == "message"


# -- Writing --------------------------------------------------------------------------------------


def entry_of(item: Block, role: str) -> Known:
    """Take an item apart.

    Args:
        item: The item, which is no tool's result.
        role: The role of its message.

    Returns:
        Its words, and all else.
    """
    if is_call(item):
        return _call_entry(item)
    if item.get("type") == "reasoning":
        return _reasoning_entry(item, role)
    content = item.get("content")
    if is_message(item) and isinstance(content, str):
        return _entry(item, role, _TEXT, [{"type": "text", "text": content}])
    if is_message(item) and _are_blocks(content):
        form = _OUTPUT if role == "assistant" else _PARTS
        return _entry(item, role, form, [to_block(part) for part in content])
    return _entry(item, role, _ITEM, [{"type": "text", "text": placeholder(item)}])


def result_entry(message: SessionMessage, item: Block) -> Block:
    """Give what a tool's result has beyond the words of its message."""
    [plain] = plain_items(message)
    return beyond(plain, item, "output")


def _are_blocks(content: Any) -> TypeGuard[list[Block]]:
    return isinstance(content, list) and all(isinstance(part, dict) for part in content)


def _entry(item: Block, role: str, form: str, blocks: list[Block], **more: Any) -> Known:
    entry: Block = {"as": form, **more}
    if len(blocks) != 1:
        entry["n"] = len(blocks)
    entry.update(beyond(_FORMS[form](blocks, role, entry), item, "content"))
    return Known(entry, blocks, as_list=form == _PARTS)


def _call_entry(item: Block) -> Known:
    call, kind = to_call(item), item["type"]
    entry = {"as": _CALL} if kind == FUNCTION else {"as": _CALL, "kind": kind}
    entry.update(beyond(call_item(call, item["call_id"], kind), item, "content"))
    return Known(entry, calls=[call])


def _reasoning_entry(item: Block, role: str) -> Known:
    summary, content = _texts(item, "summary"), _texts(item, "content")
    blocks = [{"type": "reasoning", "reasoning": text} for text in [*summary, *content]]
    return _entry(item, role, _THOUGHTS, blocks, summary=len(summary))


def _texts(item: Block, field: str) -> list[str]:
    parts: Any = item.get(field)
    texts = [part.get("text") for part in parts] if _are_blocks(parts) else []
    return [text for text in texts if isinstance(text, str)]


# -- Reading --------------------------------------------------------------------------------------


def items_of(message: SessionMessage, entries: Sequence[Block]) -> list[Block]:
    """Give back the items of a message that is no tool's result.

    Args:
        message: The message.
        entries: Its entries.

    Returns:
        The items.

    Raises:
        NotAsWrittenError: Its words are not those that the entries are of.
    """
    blocks, calls = _blocks_for(message, entries), iter(message.tool_calls)
    if sum(entry["as"] == _CALL for entry in entries) != len(message.tool_calls):
        raise NotAsWrittenError
    items, place = [], 0
    for entry in entries:
        if entry["as"] == _CALL:
            items.append(_call_item(next(calls), entry))
            continue
        end = place + entry.get("n", 1)
        plain = _FORMS[entry["as"]](blocks[place:end], message.role, entry)
        items.append(put_together(plain, entry, "content"))
        place = end
    return items


def result_item(message: SessionMessage, entry: Block) -> Block:
    """Give back a tool's result.

    Raises:
        NotAsWrittenError: Its words are not those that the entry is of.
    """
    [plain] = plain_items(message)
    output, parts = plain.get("output"), entry.get("parts")
    if parts is not None and not (isinstance(output, list) and len(output) == len(parts)):
        raise NotAsWrittenError
    return put_together(plain, entry, "output")


def _blocks_for(message: SessionMessage, entries: Sequence[Block]) -> list[Block]:
    taken = sum(entry.get("n", 1) for entry in entries if entry["as"] != _CALL)
    content = message.content
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content or taken else []
    if len(content) != taken:
        raise NotAsWrittenError
    return content


def _call_item(call: ToolCall, entry: Block) -> Block:
    try:
        plain = call_item(call, str(call["id"]), entry.get("kind", FUNCTION))
    except KeyError:
        raise NotAsWrittenError from None
    return put_together(plain, entry, "content")


# -- What words amount to -------------------------------------------------------------------------


def _text(blocks: list[Block], role: str, _: Block) -> Block:
    return {"role": role, "content": _word(blocks[0], "text")}


def _parts(blocks: list[Block], role: str, _: Block) -> Block:
    return {"role": role, "content": [part_of(block) for block in blocks]}


def _output(blocks: list[Block], role: str, _: Block) -> Block:
    parts = [output_part(block) for block in blocks]
    return {"type": "message", "role": role, "status": "completed", "content": parts}


def _thoughts(blocks: list[Block], _: str, entry: Block) -> Block:
    thoughts = [thought_of(block) for block in blocks]
    if None in thoughts:
        raise NotAsWrittenError
    end = entry["summary"]
    item: Block = {"type": "reasoning"}
    item["summary"] = [{"type": "summary_text", "text": thought} for thought in thoughts[:end]]
    if thoughts[end:]:
        texts = [{"type": "reasoning_text", "text": thought} for thought in thoughts[end:]]
        item["content"] = texts
    return item


def _item(_: list[Block], __: str, ___: Block) -> Block:
    return {}


def _word(block: Block, field: str) -> Any:
    if not isinstance(block.get(field), str):
        raise NotAsWrittenError
    return block[field]


_FORMS: dict[str, Callable[[list[Block], str, Block], Block]] = {
    _TEXT: _text,
    _PARTS: _parts,
    _OUTPUT: _output,
    _THOUGHTS: _thoughts,
    _ITEM: _item,
}
