"""What a reader could not read, and what can't be read from at all."""

from __future__ import annotations

import msgspec

from sessionstore.errors import SessionStoreError

__all__ = ["SourceError", "Unreadable"]


class Unreadable(msgspec.Struct, frozen=True):
    """Something that a reader found and left: it is in none of the sessions.

    Neither text quotes what a user wrote, but for the ids and keys that name the place.

    Attributes:
        where: The place: a table and a row's id, a key and a place in it, or a conversation.
        why: The reason.
    """

    where: str
    why: str


class SourceError(SessionStoreError, ValueError):
    """There is nothing of this format at the place that was given, or it can't be opened."""
