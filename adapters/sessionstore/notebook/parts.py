"""What a message is made of, for whatever shows it: what it says, its calls and their results."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from mimetypes import guess_type
from typing import Any, NamedTuple

from sessionstore._runtime.sealed import is_sealed

__all__ = [
    "CALLS",
    "Block",
    "as_dict",
    "block_of",
    "known_of",
    "metadata_of",
    "paired",
]

CALLS = ("tool_call", "tool_use", "function_call")
"""The kinds of the blocks that repeat a message's calls."""

_TEXTS = ("text", "text-plain", "input_text", "output_text", "reasoning", "thinking", "refusal")
# A web address, up to its file's name: all else in it may be a secret.
_FILE = re.compile(r"(?i)(?!.*(?:\\|%5c))https?://[^/?#\[]+/(?:[^?#;]*/)?([^/?#;]+)")


class Block(NamedTuple):
    """A part of what a message says.

    Attributes:
        kind: The block's type.
        text: What it says; ``None`` where it is no text: a picture, say.
        name: What to call it then: its kind, and its title or its file.
    """

    kind: str
    text: str | None
    name: str


def paired(messages: Iterable[Any]) -> list[tuple[Any, list[Any]]]:
    """Pair each call with its result; a result whose call is not here has a row of its own.

    Args:
        messages: The messages, oldest first.

    Returns:
        Rows: a message, and its calls, each as a list of the call and its result or ``None``.
    """
    rows: list[tuple[Any, list[Any]]] = []
    open_pairs: defaultdict[str, list[Any]] = defaultdict(list)
    for message in messages:
        answered = message.tool_call_id if message.role in ("tool", "function") else None
        if isinstance(answered, str) and (waiting := open_pairs.get(answered)):
            waiting.pop()[1] = message
            continue
        calls = message.tool_calls if isinstance(message.tool_calls, list) else []
        pairs: list[Any] = [[call, None] for call in calls if isinstance(call, dict)]
        rows.append((message, pairs))
        for pair in reversed(pairs):  # of two with one id, the first is answered first
            open_pairs[str(pair[0].get("id") or "")].append(pair)
    return rows


def known_of(message: Any) -> dict[str, Any]:
    """Give what frameworks know of a message beside what it says, by name."""
    extra = as_dict(message.extra)
    if is_sealed(extra):  # an encrypted store's, read without its keys
        return {"encrypted": {}}
    parts = map(as_dict, extra.values())
    known = {name: value for part in parts for name, value in part.items()}
    return known | as_dict(known.pop("additional_kwargs", None))  # where they keep all other fields


def metadata_of(session: Any) -> dict[str, Any]:
    """Give a session's metadata; of what an encrypted store has sealed, that it is."""
    metadata = as_dict(session.metadata)
    return {name: "[encrypted]" if is_sealed(value) else value for name, value in metadata.items()}


def block_of(block: Any) -> Block:
    """Read a content block, or a plain text, of any framework."""
    fields = {"type": "text", "text": block} if isinstance(block, str) else as_dict(block)
    kind = str(fields.get("type") or fields.get("block_type") or type(block).__name__)
    said = fields.get("text" if "text" in kind else kind)
    text = said if kind in _TEXTS and isinstance(said, str) else None
    name = " ".join([kind.removeprefix("input_").removesuffix("_url"), *_titles(fields)])
    return Block(kind, text, name)


def _titles(block: dict[str, Any]) -> list[str]:
    """Name a medium by its title or its file: never by its address or its bytes."""
    places = [*map(as_dict, block.values()), block]
    texts = {key: text for place in places for key, text in place.items() if isinstance(text, str)}
    names = [texts[key] for key in ("name", "title", "filename") if key in texts]
    file = _FILE.match(texts.get("url", ""))
    names += [file[1]] if file and guess_type(file[1])[0] else []
    return [*names[:1], *([texts["mime_type"]] if "mime_type" in texts else [])]


def as_dict(value: Any) -> dict[str, Any]:
    """Give a dict as it is, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}
