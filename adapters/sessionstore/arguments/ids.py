"""What callers hand to a store for an id: checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sessionstore.errors import InvalidMessageError, InvalidSessionError, InvalidTypeError

__all__ = [
    "MAX_ID_LENGTH",
    "TEXTS",
    "checked_id",
    "checked_message_id",
    "checked_message_ids",
    "iterated",
    "optional_id",
]

MAX_ID_LENGTH = 512
"""The longest id, in characters, of a session, message, agent or user."""


def checked_id(value: object, name: str) -> str:
    """Check what names a session, an agent or a user.

    Args:
        value: The id.
        name: What to call it in an error.

    Returns:
        The id, as a plain string.

    Raises:
        InvalidSessionError: It is no text of 1 to `MAX_ID_LENGTH` characters.
    """
    if isinstance(value, str):
        value = str.__str__(value)
        if 0 < len(value) <= MAX_ID_LENGTH and (value.isascii() or _is_unicode(value)):
            return value
    refusal = InvalidSessionError if isinstance(value, str) else InvalidTypeError
    raise refusal(f"{name} {_fault(value)}")


def optional_id(value: object, name: str) -> str | None:
    """Check what may name an agent or a user, or nobody.

    Args:
        value: The id, or ``None``.
        name: What to call it in an error.

    Returns:
        The id, as a plain string; or ``None``.

    Raises:
        InvalidSessionError: It is neither ``None`` nor text of 1 to `MAX_ID_LENGTH` characters.
    """
    return None if value is None else checked_id(value, name)


def checked_message_id(value: object) -> str:
    """Check what names a message.

    Args:
        value: The id.

    Returns:
        The id, as a plain string.

    Raises:
        InvalidMessageError: It is no text of 1 to `MAX_ID_LENGTH` characters.
    """
    if isinstance(value, str):
        value = str.__str__(value)
        if 0 < len(value) <= MAX_ID_LENGTH and (value.isascii() or _is_unicode(value)):
            return value
    raise InvalidMessageError(f"a message id {_fault(value)}")


def checked_message_ids(message_ids: Iterable[str]) -> list[str]:
    """Check what names some messages.

    Args:
        message_ids: What the caller gave.

    Returns:
        The ids, as plain strings, each of them once.

    Raises:
        InvalidMessageError: It is not a list of ids, or one of them is not valid.
    """
    if isinstance(message_ids, TEXTS):
        raise InvalidMessageError("message_ids must be a list of ids, not a single one: give [id]")
    ids = iterated(message_ids, "message_ids must be a list of ids")
    return list(dict.fromkeys(map(checked_message_id, ids)))


TEXTS = (str, bytes, bytearray, memoryview)


def iterated(given: Iterable[Any], words: str) -> Iterator[Any]:
    """Iterate over what a caller gave, or refuse it in those words."""
    try:
        return iter(given)
    except TypeError:
        raise InvalidMessageError(f"{words}, not {type(given).__name__}") from None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fault(value: object) -> str:
    if not isinstance(value, str):
        return f"must be a string, not {type(value).__name__}"
    if not value:
        return "is empty"
    if len(value) > MAX_ID_LENGTH:
        return f"is {len(value)} characters long; at most {MAX_ID_LENGTH} are allowed"
    return "must be valid Unicode text"
