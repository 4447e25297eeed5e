"""What the primary has done, for a cache to take note of: writes as what they have come to."""

from __future__ import annotations

from typing import Any, ClassVar

from sessionstore.operations import Operation

__all__ = ["Gone", "Together"]


class Gone(Operation[None], frozen=True, tag="gone"):
    """The last messages of a session were deleted, whosever it is: that, the primary has checked.

    Attributes:
        session_id: The session.
        message_ids: Their ids, in order.
        emptied: They were all that there were.
    """

    is_write: ClassVar[bool] = True
    user_id: ClassVar[None] = None

    session_id: str
    message_ids: list[str]
    emptied: bool


class Together(Operation[list[Any]], frozen=True, tag="together"):
    """Several writes to one session were done as one step.

    Attributes:
        session_id: The session.
        operations: The writes.
        user_id: The caller.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    operations: list[Any]
    user_id: str | None
