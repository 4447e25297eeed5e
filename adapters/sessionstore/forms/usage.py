"""How many tokens a message says that it took, whichever library wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Tokens", "tokens_of"]

# Where libraries keep it: LangChain, LlamaIndex and OpenAI, LangChain's providers.
_PLACES = ("usage_metadata", "usage", "token_usage")
_HOLDERS = ("additional_kwargs", "response_metadata")
# What they call it: LangChain and Anthropic, OpenAI and LlamaIndex, Google, Ollama.
_INPUT = ("input_tokens", "prompt_tokens", "prompt_token_count", "prompt_eval_count")
_OUTPUT = ("output_tokens", "completion_tokens", "candidates_token_count", "eval_count")


class Tokens(NamedTuple):
    """What a model read and wrote for a message, in tokens.

    Attributes:
        input: What it read.
        output: What it wrote.
    """

    input: int
    output: int


def tokens_of(message: Any) -> Tokens | None:
    """Tell how many tokens a message took, where it says so.

    Args:
        message: A `SessionMessage`, whoever wrote it.

    Returns:
        The tokens, 0 for one of the two that is not told; ``None`` where neither is.
    """
    for place in _places(message):
        read, written = _first(place, _INPUT), _first(place, _OUTPUT)
        if read is not None or written is not None:
            return Tokens(read or 0, written or 0)
    return None


def _places(message: Any) -> Iterator[dict[str, Any]]:
    for part in [*_dicts(message.extra), *_dicts({"": message.metadata})]:
        for holder in (part, *(part.get(name) for name in _HOLDERS)):
            if isinstance(holder, dict):
                yield from (holder[name] for name in _PLACES if isinstance(holder.get(name), dict))
                yield holder


def _dicts(value: Any) -> list[dict[str, Any]]:
    parts = value.values() if isinstance(value, dict) else ()
    return [part for part in parts if isinstance(part, dict)]


def _first(place: dict[str, Any], names: tuple[str, ...]) -> int | None:
    counts = (place.get(name) for name in names)
    return next((count for count in counts if type(count) is int and count >= 0), None)
