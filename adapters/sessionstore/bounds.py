"""`StoreBounds`: what is too large for a store, known before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sessionstore.errors import InvalidMessageError

__all__ = ["StoreBounds"]


class StoreBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The largest write that a store takes.

    Attributes:
        messages: How many messages one write may have; ``None`` for any number.
        message_bytes: How long one message may be in its stored form; ``None`` for any length.
        write_bytes: How long all messages of one write may be together; ``None`` for any length.
    """

    messages: int | None = None
    message_bytes: int | None = None
    write_bytes: int | None = None

    def require(self, bodies: Sequence[bytes]) -> None:
        """Refuse a write that is too large.

        Args:
            bodies: Its messages, in their stored form.

        Raises:
            InvalidMessageError: It is.
        """
        if self.messages is not None and len(bodies) > self.messages:
            raise InvalidMessageError(
                f"{len(bodies)} messages are too many for one call: "
                f"append them in batches of {self.messages} or fewer"
            )
        if self.message_bytes is not None:
            longest = max(map(len, bodies), default=0)
            if longest > self.message_bytes:
                raise InvalidMessageError(
                    f"a message of {longest} bytes is too large for this store: "
                    f"the most is {self.message_bytes}"
                )
        if self.write_bytes is not None and (total := sum(map(len, bodies))) > self.write_bytes:
            raise InvalidMessageError(
                f"messages of {total} bytes are too large for one call: "
                f"append them in batches of {self.write_bytes} bytes or less"
            )
