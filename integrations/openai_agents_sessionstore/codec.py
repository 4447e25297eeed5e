"""The Agents SDK's items as `SessionMessage`, and back: nothing is lost, nothing is executed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace
from pydantic import BaseModel

from sessionstore import CorruptMessageError, InvalidMessageError, SessionMessage
from sessionstore.binary import tag_bytes, untag_bytes
from sessionstore.forms.openai_agents.entries import NotAsWrittenError, items_of, result_item
from sessionstore.forms.openai_agents.grouping import ITEMS, KEY, begins, message_of
from sessionstore.forms.openai_agents.parts import Block
from sessionstore.forms.openai_agents.reading import CALL_BLOCKS, call_of_block, plain_items
from sessionstore.models import require_opened

if TYPE_CHECKING:
    from agents import TResponseInputItem

__all__ = ["of_message", "to_items", "to_session_messages", "without_last"]


def to_session_messages(items: Iterable[TResponseInputItem]) -> list[SessionMessage]:
    """Give the messages that hold all of some items.

    What a model said in one response, its reasoning, its text and its calls, is one message, as it
    is in other frameworks; a tool's result is a message, and so is what anybody else said.

    Example:
        >>> from openai_agents_sessionstore import to_session_messages
        >>> to_session_messages([{"role": "user", "content": "Hello!"}])
        [SessionMessage(role='user', id=None, content=<6 characters>)]

    Args:
        items: Input items of OpenAI's Responses API, as the Agents SDK hands them to a session;
            models of pydantic are kept as their JSON.

    Returns:
        The messages, in the words of no framework, in the order of the items. An item that calls no
        tool of this program, such as a web search, is shown as its name in brackets, and kept.

    Raises:
        InvalidMessageError: It is no list of items. (What JSON can't hold is refused when the
            messages are stored.)
    """
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise InvalidMessageError("items must be a list of items: give [item]")
    groups: list[list[Block]] = []
    for item in map(_data_of, items):
        if not groups or begins(item, groups[-1]):
            groups.append([])
        groups[-1].append(item)
    return [tag_bytes(message_of(group)) for group in groups]


def to_items(messages: Iterable[SessionMessage]) -> list[TResponseInputItem]:
    """Give the items that messages hold, or amount to where another framework wrote them.

    Args:
        messages: Stored messages.

    Returns:
        Items equal to those that `to_session_messages` was given. What another framework wrote
        comes in valid input items: a model's message with text and two calls as three. Where there
        is no item for a part of it, a text in brackets names that part.

    Raises:
        InvalidMessageError: One of them is not a `SessionMessage`.
        CorruptMessageError: What one says of the Agents SDK is not what `to_session_messages`
            writes.
        DecryptionError: One is encrypted, and was read without its keys.
    """
    return [item for message in messages for item in of_message(message)]


def of_message(message: SessionMessage) -> list[TResponseInputItem]:
    """Give the items of one message: one at least."""
    if not isinstance(message, SessionMessage):
        kind = type(message).__name__
        raise InvalidMessageError(f"a stored message must be a SessionMessage, not {kind}")
    require_opened(message)
    try:
        return cast("list[TResponseInputItem]", _read(untag_bytes(message)))
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError):
        pass  # it may quote the message, so that it must be no part of the error's chain
    raise CorruptMessageError(
        f"message {message.id!r} can't be read as the Agents SDK's: "
        "its extra['openai_agents'] is damaged"
    )


def without_last(message: SessionMessage) -> SessionMessage | None:
    """Give a message without the last of its items; ``None`` where there is one alone.

    What other frameworks know of it is left out: they know it of the whole.
    """
    items = of_message(message)
    if len(items) == 1:
        return None
    plain = untag_bytes(message)
    if KEY in plain.extra or plain.role != "assistant" or not plain.tool_calls:
        rest = message_of(cast("list[Block]", items[:-1]))
        rest = replace(rest, id=plain.id, created_at=plain.created_at, metadata=plain.metadata)
        return tag_bytes(rest)
    *calls, last = plain.tool_calls
    content = plain.content
    if not isinstance(content, str):
        content = [block for block in content if not _repeats(block, last["id"])]
    return tag_bytes(replace(plain, content=content, tool_calls=calls, extra={}))


# -- Writing --------------------------------------------------------------------------------------


def _data_of(item: Any) -> Block:
    if isinstance(item, BaseModel):
        return item.model_dump(mode="json", exclude_unset=True, warnings=False)
    if isinstance(item, Mapping):
        return dict(item)
    raise InvalidMessageError(f"an item must be a dict, not {type(item).__name__}")


# -- Reading --------------------------------------------------------------------------------------


def _read(message: SessionMessage) -> list[Block]:
    if KEY not in message.extra:
        return plain_items(message)
    entries = message.extra[KEY][ITEMS]
    try:
        if message.role == "tool":
            items = [result_item(message, entry) for entry in entries]
        else:
            items = items_of(message, entries)
    except NotAsWrittenError:
        return plain_items(message)
    words = message_of(items)
    is_as_written = (words.content, words.tool_calls) == (message.content, message.tool_calls)
    return items if is_as_written else plain_items(message)


def _repeats(block: Block, call_id: str | None) -> bool:
    return block.get("type") in CALL_BLOCKS and call_of_block(block) == call_id
