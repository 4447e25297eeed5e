"""What an item has beyond the words of its message: all that is kept of it beside them."""

from __future__ import annotations

from typing import Any

from sessionstore.forms.openai_agents.parts import Block

__all__ = ["beyond", "put_together"]

# Of an item, or of a part: the fields that its words do not say, and those that it has not. Of an
# item with parts, also what each part has beyond.
_AND, _WITHOUT, _PARTS = "and", "without", "parts"
_REFUSAL = "refusal"


def beyond(plain: Block, item: Block, field: str) -> Block:
    """Give the fields in which an item is not what the words of its message say.

    Args:
        plain: What they say.
        item: The item.
        field: Where both may have parts.

    Returns:
        What `put_together` needs; empty where there is nothing.
    """
    said: Any = plain.get(field)
    parts: Any = item.get(field)
    if said == parts or not _are_parts(said, parts):
        return _difference(plain, item)
    known = [_difference(_as(part, one), part) for one, part in zip(said, parts, strict=True)]
    for part, entry in zip(parts, known, strict=True):
        if part.get("type") == _REFUSAL:
            entry["as"] = _REFUSAL
    return {_PARTS: known, **_difference({**plain, field: parts}, item)}


def put_together(plain: Block, entry: Block, field: str) -> Block:
    """Give back an item.

    Args:
        plain: What the words of its message say.
        entry: What `beyond` gave.
        field: Where it may have parts.

    Returns:
        The item.
    """
    if _PARTS in entry:
        pairs = zip(plain[field], entry[_PARTS], strict=True)
        parts = [_filled(_as({"type": known.get("as")}, one), known) for one, known in pairs]
        plain = {**plain, field: parts}
    return _filled(plain, entry)


def _are_parts(said: Any, parts: Any) -> bool:
    return (
        isinstance(said, list)
        and isinstance(parts, list)
        and len(said) == len(parts)
        and all(isinstance(part, dict) for part in parts)
    )


def _as(part: Block, said: Block) -> Block:
    """Give what is said as a refusal, where it is one."""
    if part.get("type") == _REFUSAL and "text" in said:
        return {"type": _REFUSAL, _REFUSAL: said["text"]}
    return said


def _difference(plain: Block, item: Block) -> Block:
    more = {key: it for key, it in item.items() if key not in plain or plain[key] != it}
    less = [key for key in plain if key not in item]
    return {**({_AND: more} if more else {}), **({_WITHOUT: less} if less else {})}


def _filled(plain: Block, entry: Block) -> Block:
    without = entry.get(_WITHOUT, ())
    kept = {key: it for key, it in plain.items() if key not in without}
    return {**kept, **entry.get(_AND, {})}
