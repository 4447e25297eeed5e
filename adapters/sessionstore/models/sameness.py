"""Whether what is stored is what it was: the same values, however they are written."""

from __future__ import annotations

from typing import Any

import msgspec

from sessionstore.errors import CorruptMessageError
from sessionstore.models.stored_form import decode_message

__all__ = ["is_same_message", "is_same_value"]

# Python takes 1, 1.0 and True for equal, and JSON does not; the order of keys is no matter.
_encoder = msgspec.json.Encoder(order="deterministic")


def is_same_message(stored: bytes | str, given: bytes) -> bool:
    """Tell whether a stored message is a given one.

    Args:
        stored: Its JSON, as it was found.
        given: What `encode_message` gave.

    Returns:
        Whether the two are equal once they are decoded; a message that can't be read equals none.
    """
    if isinstance(stored, str):
        stored = stored.encode(errors="surrogatepass")
    if stored == given:
        return True
    try:
        return is_same_value(decode_message(stored), decode_message(given))
    except CorruptMessageError:
        return False


def is_same_value(one: Any, other: Any) -> bool:
    """Tell whether two values, as they are decoded from JSON, are the same in JSON."""
    return bool(one == other) and _encoder.encode(one) == _encoder.encode(other)
