"""Items as messages: what a model said in one response is one message."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from sessionstore.forms.openai_agents.calls import is_call, is_result
from sessionstore.forms.openai_agents.entries import entry_of, is_message, result_entry
from sessionstore.forms.openai_agents.parts import Block, is_part, placeholder, to_block
from sessionstore.forms.openai_agents.reading import plain_items
from sessionstore.models import ROLE_NAMES, SessionMessage

__all__ = ["ITEMS", "KEY", "begins", "message_of"]

KEY, ITEMS = "openai_agents", "items"
"""Under ``extra[KEY][ITEMS]``: what each item of the message is, beside the message's words."""


def begins(item: Block, group: Sequence[Block]) -> bool:
    """Tell whether an item is not of the response that those before it are of.

    A call is of the response before it, and so is all that comes between calls and their results:
    models want the results right behind one message with all the calls.

    Args:
        item: The item.
        group: The items before it that are one message; one at least.

    Returns:
        Whether a new message begins with it.
    """
    if not _of_model(item) or not _of_model(group[-1]):
        return True
    return not is_call(item) and any(map(is_message, group)) and not any(map(is_call, group))


def message_of(items: list[Block]) -> SessionMessage:
    """Give the message that items are, which `begins` has grouped.

    Args:
        items: The items; one at least.

    Returns:
        The message. It may hold bytes where the items do.
    """
    first = items[0]
    if is_result(first):
        return _result_of(first)
    given = first["role"] if is_message(first) else "assistant"
    role = ROLE_NAMES.get(given, given)
    known = [entry_of(item, role) for item in items]
    blocks = [block for each in known for block in each.blocks]
    is_text = len(blocks) == 1 and blocks[0]["type"] == "text"
    content = blocks[0]["text"] if is_text and not any(each.as_list for each in known) else blocks
    message = SessionMessage(
        role,
        content or "",
        tool_calls=[call for each in known for call in each.calls],
    )
    return _with_entries(message, items, [each.entry for each in known])


def _of_model(item: Block) -> bool:
    return not is_result(item) and (not is_message(item) or item["role"] == "assistant")


def _result_of(item: Block) -> SessionMessage:
    output = item.get("output")
    if isinstance(output, list) and output and all(map(is_part, output)):
        output = [to_block(part) for part in output]
    elif not isinstance(output, str):
        output = placeholder(item)
    message = SessionMessage("tool", output, tool_call_id=item["call_id"])
    return _with_entries(message, [item], [result_entry(message, item)])


def _with_entries(
    message: SessionMessage, items: list[Block], entries: list[Block]
) -> SessionMessage:
    if plain_items(message) == items:
        return message
    return replace(message, extra={KEY: {ITEMS: entries}})
