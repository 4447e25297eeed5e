"""Messages in the form of OpenAI's Chat Completions, which fine-tuning and evaluations take."""

from __future__ import annotations

from typing import Any

import msgspec

from sessionstore.forms.openai_agents.parts import Block, part_of, placeholder, text_of
from sessionstore.forms.openai_agents.reading import CALL_BLOCKS, blocks_of, thought_of
from sessionstore.models import SessionMessage, ToolCall

__all__ = ["chat_message_of"]

_ASSISTANTS = ("assistant", "model", "chatbot")
_INSTRUCTIONS = ("system", "developer")
_RESULTS = ("tool", "function")
_encode = msgspec.json.Encoder().encode


def chat_message_of(message: SessionMessage) -> dict[str, Any]:
    """Give a message as Chat Completions have it.

    Args:
        message: The message, whoever wrote it.

    Returns:
        An object with ``role`` and ``content``, and with ``tool_calls``, ``tool_call_id`` or
        ``name`` where there are some. Reasoning is left out: the form has no place for it. What
        else it has none for is a text in brackets. A role that it does not know is ``user``.
    """
    if message.role in _RESULTS and message.tool_call_id:
        said = {"role": "tool", "tool_call_id": message.tool_call_id}
        return {**said, "content": _text(message)}
    if message.role in _ASSISTANTS or message.role in _RESULTS or message.tool_calls:
        return _of_model(message)
    role = message.role if message.role in _INSTRUCTIONS else "user"
    content: Any = message.content
    if not isinstance(content, str):
        content = [_part(block) for block in content] if role == "user" else _text(message)
    named = {"name": message.name} if message.name else {}
    return {"role": role, "content": content, **named}


def _of_model(message: SessionMessage) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": _text(message)}
    if message.tool_calls:
        calls = enumerate(message.tool_calls)
        said["content"] = said["content"] or None
        said["tool_calls"] = [_call(call, f"call_{message.id}_{place}") for place, call in calls]
    return said


def _call(call: ToolCall, made_up: str) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": _encode(call["args"]).decode()}
    return {"id": call["id"] or made_up, "type": "function", "function": function}


def _text(message: SessionMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    calls = CALL_BLOCKS if message.tool_calls else ()
    said = (
        text_of(block) or placeholder(block)
        for block in blocks_of(message)
        if thought_of(block) is None and block.get("type") not in calls and text_of(block) != ""
    )
    return "".join(said)


def _part(block: Block) -> Block:
    part = part_of(block)
    kind = part["type"]
    if kind == "input_text":
        return {"type": "text", "text": part["text"]}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_audio":
        return part
    file = {key: part[key] for key in ("file_data", "file_id", "filename") if key in part}
    if kind == "input_file" and file.keys() & {"file_data", "file_id"}:
        return {"type": "file", "file": file}
    return {"type": "text", "text": placeholder(block)}
