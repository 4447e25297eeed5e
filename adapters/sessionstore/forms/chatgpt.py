"""A message of ChatGPT's export, in the words of `SessionMessage`."""

from __future__ import annotations

from typing import Any, TypeAlias

from sessionstore.forms.faults import FormError
from sessionstore.models import SessionMessage, ToolCall

__all__ = ["Calls", "message_of"]

Calls: TypeAlias = dict[str, str]
"""The id of the newest call of each tool, by the tool's name."""

_ROLES = ("system", "user", "assistant", "tool")
_TO_ALL = "all"
# The kinds of content, but for those with parts, and where each has its text.
_TEXTS = {
    "code": "text",
    "execution_output": "text",
    "tether_quote": "text",
    "system_error": "text",
    "tether_browsing_display": "result",
    "reasoning_recap": "content",
    "user_editable_context": "user_instructions",
    "model_editable_context": "model_set_context",
}
_MEDIA = {
    "image_asset_pointer": "image",
    "audio_asset_pointer": "audio",
    "real_time_user_audio_video_asset_pointer": "video",
}


def message_of(given: Any, calls: Calls) -> SessionMessage:
    """Give the message that one of the export says.

    Args:
        given: The message, as data.
        calls: The calls of tools before it; one that it makes is put in.

    Returns:
        The message. What a tool is told is its call, as in other frameworks. The rest of what the
        export says of it is under ``extra["chatgpt"]``.

    Raises:
        FormError: It is no such message.
    """
    if not isinstance(given, dict):
        raise FormError("a message is not a JSON object")
    author, content = given.get("author"), given.get("content")
    if not isinstance(author, dict) or not isinstance(content, dict):
        raise FormError("a message has no author or no content")
    role = _text(author, "role")
    if role not in _ROLES:
        raise FormError("a message has no role that is known")
    if not isinstance(content.get("content_type"), str):
        raise FormError("a message's content has no content_type")
    message_id, name = _text(given, "id"), _text(author, "name")
    words = _words(content)
    call = _call(given, role, message_id, words, calls)
    return SessionMessage(
        role,
        "" if call and isinstance(words, str) else words,
        id=message_id,
        name=name,
        tool_calls=[call] if call else [],
        tool_call_id=(calls.get(name or "") or message_id) if role == "tool" else None,
        extra={"chatgpt": _rest(given, content, words)},
    )


def _call(
    given: dict[str, Any], role: str, message_id: str | None, words: Any, calls: Calls
) -> ToolCall | None:
    to = _text(given, "recipient") or _TO_ALL
    if role != "assistant" or to == _TO_ALL or not message_id:
        return None
    calls[to] = message_id
    return {"name": to, "args": {"input": words}, "id": message_id}


def _words(content: dict[str, Any]) -> str | list[dict[str, Any]]:
    kind = content.get("content_type")
    if isinstance(parts := content.get("parts"), list):
        if all(isinstance(part, str) for part in parts):
            return "\n".join(parts)
        return [_block(part) for part in parts]
    if kind == "thoughts" and isinstance(thoughts := content.get("thoughts"), list):
        return [{"type": "reasoning", "reasoning": _thought(it)} for it in thoughts]
    text = content.get(_TEXTS.get(str(kind), "text"))
    return text if isinstance(text, str) else f"[{kind}]"


def _block(part: Any) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, dict):
        raise FormError("a part of a message is neither text nor a JSON object")
    kind = part.get("content_type")
    if kind == "audio_transcription" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    name = f"{_MEDIA.get(str(kind), 'file')}: {part.get('asset_pointer', 'not in the export')}"
    return {"type": "text", "text": f"[{name}]"}


def _thought(thought: Any) -> str:
    if not isinstance(thought, dict):
        raise FormError("a thought is not a JSON object")
    known = (thought.get("summary"), thought.get("content"))
    return "\n".join(it for it in known if isinstance(it, str) and it)


def _rest(given: dict[str, Any], content: dict[str, Any], words: Any) -> dict[str, Any]:
    """Give what the message's own fields do not say."""
    kept = {key: value for key, value in given.items() if key not in _SAID and value is not None}
    is_plain = content.keys() <= {"content_type", "parts"} and isinstance(words, str)
    return (
        {**kept, "content_type": content.get("content_type")}
        if is_plain
        else {
            **kept,
            "content": content,
        }
    )


_SAID = ("id", "content", "create_time")


def _text(holder: dict[str, Any], name: str) -> str | None:
    value = holder.get(name)
    return value if isinstance(value, str) and value else None
