"""What messages cost a model: counting their tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, Protocol, TypeAlias

from sessionstore.models import SessionMessage

__all__ = ["LanguageModel", "TokenCounter", "approximate_tokens", "count_tokens", "is_counter"]

_TOKENS_OF_MEDIA = 85  # a small image's; what is sent as a file is not read as text
_MEDIA = (
    "audio",
    "audio_url",
    "computer_screenshot",
    "document",
    "file",
    "image",
    "image_generation_call",
    "image_url",
    "input_audio",
    "input_file",
    "input_image",
    "input_video",
    "media",
    "video",
    "video_url",
)
# A model reads these as text, whatever they hold.
_TEXTS = ("arguments", "code", "content", "logs", "output", "reasoning", "text", "thinking")
_ARGUMENTS = ("args", "input")
_LONG = 4 * _TOKENS_OF_MEDIA  # as text it would cost more
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+[;,]")
_BASE64 = re.compile(r"[\w+/=\r\n-]+", re.ASCII)  # the one for addresses, too


class LanguageModel(Protocol):
    """What a window needs of a LangChain model, to count tokens with it."""

    def get_num_tokens_from_messages(self, messages: Any, /) -> int:
        """Count the tokens of LangChain's messages."""
        ...


TokenCounter: TypeAlias = Callable[[list[Any]], float] | LanguageModel
"""Counts the tokens of a list of `SessionMessage`; or a LangChain model."""


def approximate_tokens(messages: Iterable[SessionMessage]) -> int:
    """Estimate how many tokens messages cost: a quarter of their characters, and 3 each.

    An image, a sound or another file costs 85, however long it is, in whatever block it stands:
    a text of base64 is one wherever a model does not read it as text.

    Args:
        messages: The messages.

    Returns:
        The estimate. For exact numbers use the tokenizer of the model.
    """
    return sum(3 + _tokens_of(m.content) + len(str(m.tool_calls or "")) // 4 for m in messages)


def _tokens_of(content: str | list[dict[str, Any]]) -> int:
    if isinstance(content, str):
        return len(content) // 4
    media: list[Any] = []
    text = sum(len(str(_without_media(block, media))) for block in content)
    return text // 4 + _TOKENS_OF_MEDIA * len(media)


def _without_media(value: Any, media: list[Any]) -> Any:
    """Give what is left of a value as text, and add each of its media to a list."""
    if isinstance(value, list):
        return [_without_media(inner, media) for inner in value]
    if isinstance(value, dict):
        if value.get("type") not in _MEDIA:
            return {key: _field(key, inner, media) for key, inner in value.items()}
    elif not _is_medium(value):
        return value
    media.append(value)
    return ""


def _field(key: str, value: Any, media: list[Any]) -> Any:
    is_text = key in _ARGUMENTS or (key in _TEXTS and isinstance(value, str))
    return value if is_text else _without_media(value, media)


def _is_medium(value: object) -> bool:
    if not isinstance(value, str) or len(value) <= _LONG:
        return False
    if _DATA_URL.match(value):
        return True
    return bool(_BASE64.fullmatch(value[:_LONG]) and _BASE64.fullmatch(value[-_LONG:]))


def is_counter(counter: object) -> bool:
    """Tell whether a value is a `TokenCounter`.

    Args:
        counter: Any value.

    Returns:
        Whether it can be called, or is a model with a count of its own.
    """
    return callable(counter) or hasattr(counter, "get_num_tokens_from_messages")


def count_tokens(counter: TokenCounter | None, messages: list[SessionMessage]) -> float:
    """Count the tokens of messages, and check what the counter says.

    Args:
        counter: The counter; `approximate_tokens` if ``None``.
        messages: The messages.

    Returns:
        A number of 0 or more.

    Raises:
        TypeError: The counter is a model, is async, or gives no number.
        ValueError: It gives a negative number, or NaN.
    """
    counter = counter or approximate_tokens
    if not callable(counter):
        raise TypeError(
            "a LangChain model counts LangChain's messages: "
            "give token_counter langchain_sessionstore.langchain_token_counter(model)"
        )
    tokens: Any = counter(messages)
    if not isinstance(tokens, Real):
        if hasattr(tokens, "close"):
            tokens.close()  # a coroutine that nobody awaits would warn
        kind = type(tokens).__name__
        raise TypeError(f"token_counter must give a number, not {kind}; it can't be async")
    if not float(tokens) >= 0:
        raise ValueError(f"token_counter must give a number of 0 or more, not {tokens}")
    return float(tokens)
