"""A `SessionMessage` of any framework as the input items that it amounts to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sessionstore.forms.openai_agents.calls import call_item
from sessionstore.forms.openai_agents.parts import Block, part_of, placeholder, text_of
from sessionstore.models import SessionMessage

__all__ = ["CALL_BLOCKS", "blocks_of", "call_of_block", "plain_items", "thought_of"]

_ASSISTANTS = ("assistant", "model", "chatbot")
_INSTRUCTIONS = ("system", "developer")
_RESULTS = ("tool", "function")
CALL_BLOCKS = ("tool_call", "tool_use", "function_call")
"""Blocks that repeat a tool call in the content: LangChain's, Anthropic's and OpenAI's."""


def plain_items(message: SessionMessage) -> list[Block]:
    """Give the items that a message amounts to, whoever wrote it: one at least.

    They have no ids: OpenAI takes only ids of its own there.

    Args:
        message: The message.

    Returns:
        A tool's result is one item. A model's message is its reasoning and its text, in their
        order, and behind them each of its calls.
    """
    if message.role in _RESULTS and message.tool_call_id:
        return [_result(message, message.tool_call_id)]
    if message.role in _ASSISTANTS or message.role in _RESULTS or message.tool_calls:
        return _of_model(message)
    role = message.role if message.role in _INSTRUCTIONS else "user"
    if isinstance(message.content, str):
        return [{"role": role, "content": message.content}]
    return [{"role": role, "content": [part_of(block) for block in message.content]}]


def blocks_of(message: SessionMessage) -> list[Block]:
    """Give a content as blocks: none where it is empty."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content else []
    return message.content


def thought_of(block: Block) -> str | None:
    """Give what a block of reasoning says, or ``None`` where it is none."""
    kind = block.get("type")
    said: Any = None
    if kind == "thinking":  # Anthropic's
        said = block.get("thinking")
    elif kind == "reasoning":
        said = block.get("reasoning", _summary(block.get("summary")))
    return said if isinstance(said, str) else None


def call_of_block(block: Block) -> str:
    """Give the id of the tool call that a block in the content repeats."""
    return str(block.get("call_id") or block.get("id"))


def _summary(summary: Any) -> str | None:
    """Give what OpenAI's own block of reasoning says, which LangChain keeps as it is."""
    if not isinstance(summary, list):
        return None
    texts = [part.get("text") for part in summary if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _result(message: SessionMessage, call_id: str) -> Block:
    output: Any = message.content
    if not isinstance(output, str):
        output = [part_of(block, heard=False) for block in output]
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _of_model(message: SessionMessage) -> list[Block]:
    items = list(_said(message))
    for place, call in enumerate(message.tool_calls):
        items.append(call_item(call, call["id"] or f"call_{message.id}_{place}"))
    return items or [{"role": "assistant", "content": ""}]


def _said(message: SessionMessage) -> Iterator[Block]:
    """Give a model's reasoning and text, as items: what stands together is one."""
    known = {call["id"] for call in message.tool_calls}
    thoughts: list[str] = []
    texts: list[str] = []
    for block in blocks_of(message):
        if _repeats(block, known):
            continue
        thought = thought_of(block)
        if thought is None and thoughts:
            yield _reasoning(thoughts)
            thoughts = []
        elif thought is not None and texts:
            yield _text(texts)
            texts = []
        said = text_of(block) if thought is None else thought
        if said != "":
            (texts if thought is None else thoughts).append(said or placeholder(block))
    if thoughts:
        yield _reasoning(thoughts)
    if texts:
        yield _text(texts)


def _repeats(block: Block, calls: set[str | None]) -> bool:
    return block.get("type") in CALL_BLOCKS and call_of_block(block) in calls


def _reasoning(thoughts: list[str]) -> Block:
    summary = [{"type": "summary_text", "text": thought} for thought in thoughts]
    return {"type": "reasoning", "summary": summary}


def _text(texts: list[str]) -> Block:
    return {"role": "assistant", "content": "".join(texts)}
