"""`Reseal`: stored messages are swapped for others that say the same, as with a newer key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from sessionstore.arguments import checked_messages, checked_metadata
from sessionstore.errors import CorruptMessageError, InvalidMessageError, InvalidSessionError
from sessionstore.models import (
    SessionMessage,
    decode_metadata,
    encode_message,
    encode_metadata,
    is_same_message,
    is_same_value,
)
from sessionstore.operations.base import Operation, check_ids, put

__all__ = ["Reseal", "Swaps"]


class Swaps(NamedTuple):
    """What a `Reseal` swaps, encoded: a store asks it about what it has found.

    Attributes:
        messages: By the id of each message the old one and the new one, in their stored form.
        metadata: By each key of the metadata the old value and the new one.
    """

    messages: dict[str, tuple[bytes, bytes]]
    metadata: dict[str, tuple[Any, Any]]

    def of_messages(self, stored: Iterable[tuple[str, bytes | str]]) -> list[tuple[str, bytes]]:
        """Give what is to be put into the place of those messages that are still the old ones.

        Args:
            stored: Ids and messages, as they were found; of each id of `messages` one at most.

        Returns:
            Their ids, and the new messages.
        """
        pairs = [(name, body, *self.messages[name]) for name, body in stored]
        return [(name, new) for name, body, old, new in pairs if is_same_message(body, old)]

    def of_metadata(self, stored: bytes | str) -> tuple[bytes | None, int]:
        """Give the metadata that is to be put into the place of what was found.

        Args:
            stored: JSON; what can't be read has no value that is equal.

        Returns:
            The JSON, or ``None`` where nothing is to be swapped; and how many values are.
        """
        if not self.metadata:
            return None, 0
        try:
            found = decode_metadata(stored)
        except CorruptMessageError:
            return None, 0
        new = {
            key: pair[1]
            for key, pair in self.metadata.items()
            if key in found and is_same_value(found[key], pair[0])
        }
        return encode_metadata({**found, **new}) if new else None, len(new)


class Reseal(Operation[int], frozen=True, tag="reseal"):
    """Swap those messages, and values of metadata, that are still what they were; give how many.

    It is for what says the same in another form: sealed with a newer key, say. So nothing else of
    the session changes: not its version, its times, the order or the number of its messages, its
    place in lists, or when it expires.

    In one step each stored message that is still equal to its ``old`` one is swapped for its
    ``new`` one, and each value of metadata that is still equal to that in ``old_metadata`` for that
    in ``new_metadata``. What was replaced or deleted meanwhile, or can't be read, is left alone. So
    it loses nothing that others write, and to do it again is harmless. Of a session that is not
    there it gives 0.

    It can't be in a list of operations. A fallback refuses it in an outage.

    Attributes:
        session_id: The session.
        old: The messages as they were read.
        new: What comes instead of each, in the same order: with its id, role and ``created_at``.
        old_metadata: Values of the session's metadata, as they were read.
        new_metadata: What comes instead of them, with the same keys; ``None`` is a value as others.
        user_id: The caller, where ownership is to be checked.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    old: list[SessionMessage] = []  # noqa: RUF012 - msgspec gives each its own
    new: list[SessionMessage] = []  # noqa: RUF012 - as above
    old_metadata: dict[str, Any] = {}  # noqa: RUF012 - as above
    new_metadata: dict[str, Any] = {}  # noqa: RUF012 - as above
    user_id: str | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        put(self, "old", _checked(self.old, "old"))
        put(self, "new", _checked(self.new, "new"))
        _require_pairs(self.old, self.new)
        checked_metadata(self.old_metadata)
        if self.old_metadata.keys() != checked_metadata(self.new_metadata).keys():
            raise InvalidSessionError("old_metadata and new_metadata must have the same keys")

    @property
    def messages(self) -> list[SessionMessage]:
        """The messages that it puts in."""
        return self.new

    @property
    def metadata(self) -> dict[str, Any]:
        """The values of metadata that it puts in."""
        return self.new_metadata

    def swaps(self) -> Swaps:
        """Encode what it swaps.

        Raises:
            InvalidMessageError: A message can't be stored as JSON.
            InvalidSessionError: A value of metadata can't.
        """
        new = decode_metadata(encode_metadata(self.new_metadata))
        values = decode_metadata(encode_metadata(self.old_metadata)).items()
        pairs = zip(self.old, self.new, strict=True)
        bodies = {str(old.id): (encode_message(old), encode_message(new)) for old, new in pairs}
        return Swaps(bodies, {key: (old, new[key]) for key, old in values})


def _checked(given: Any, name: str) -> list[SessionMessage]:
    if not isinstance(given, (list, tuple)):
        raise InvalidMessageError(f"{name} must be a list of messages, not {type(given).__name__}")
    messages = checked_messages(given)
    if len(messages) != len(given):
        raise InvalidMessageError(f"{name} holds two messages with one id: give each once")
    return messages


def _require_pairs(old: Sequence[SessionMessage], new: Sequence[SessionMessage]) -> None:
    if len(old) != len(new):
        raise InvalidMessageError(f"{len(old)} old messages need as many new ones, not {len(new)}")
    for place, pair in enumerate(zip(old, new, strict=True)):
        for name in ("id", "role", "created_at"):
            if getattr(pair[0], name) != getattr(pair[1], name):
                why = f"the messages at place {place} differ in their {name}"
                raise InvalidMessageError(f"{why}: a new message has the old one's")
