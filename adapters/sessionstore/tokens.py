"""What messages cost a model: counting their tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, Protocol, TypeAlias

from sessionstore.models import SessionMessage

__all__ = ["LanguageModel", "TokenCounter", "approximate_tokens", "count_tokens", "is_counter"]

_TOKENS_OF_MEDIA = 85  # a small image's; what is sent as a file is not read as text
_MEDIA = ("image", "image_url", "input_image", "audio", "input_audio", "video", "file", "document")


class LanguageModel(Protocol):
    """What a window needs of a LangChain model, to count tokens with it."""

    def get_num_tokens_from_messages(self, messages: Any, /) -> int:
        """Count the tokens of LangChain's messages."""
        ...


TokenCounter: TypeAlias = Callable[[list[Any]], float] | LanguageModel
"""Counts the tokens of a list of `SessionMessage`; or a LangChain model."""


def approximate_tokens(messages: Iterable[SessionMessage]) -> int:
    """Estimate how many tokens messages cost: a quarter of their characters, and 3 each.

    An image, a sound or another file costs 85, however long it is.

    Args:
        messages: The messages.

    Returns:
        The estimate. For exact numbers use the tokenizer of the model.
    """
    return sum(3 + _tokens_of(m.content) + len(str(m.tool_calls or "")) // 4 for m in messages)


def _tokens_of(content: str | list[dict[str, Any]]) -> int:
    if isinstance(content, str):
        return len(content) // 4
    media = [block for block in content if block.get("type") in _MEDIA]
    text = sum(len(str(block)) for block in content if block.get("type") not in _MEDIA)
    return text // 4 + _TOKENS_OF_MEDIA * len(media)


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
