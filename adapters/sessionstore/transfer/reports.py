"""What a transfer tells: while it runs, and when it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

__all__ = ["LeftSession", "OnProgress", "TransferProgress", "TransferReport"]


class TransferProgress(msgspec.Struct, frozen=True):
    """How far a transfer is.

    Attributes:
        sessions: How many sessions it is done with, whatever became of them.
        messages: How many messages it has written so far.
        session_id: The session that it is at, or was at last; ``None`` where that is not known.
        read: Of a file, how many of its bytes are read: of a compressed one, compressed ones.
        size: How many bytes the file has; ``None`` where there is no file, or it has no size.
    """

    sessions: int = 0
    messages: int = 0
    session_id: str | None = None
    read: int = 0
    size: int | None = None


OnProgress: TypeAlias = Callable[[TransferProgress], object]
"""What is called after each session, and after each page of a long one, in the caller's thread."""


class LeftSession(msgspec.Struct, frozen=True):
    """A session that a transfer left as it was.

    Attributes:
        session_id: Its id; ``None`` where that could not be read.
        where: Where it stands, as ``"line 17"`` of a file; empty where the id says all.
        why: The reason, without a user's words.
    """

    session_id: str | None
    where: str
    why: str


class TransferReport(msgspec.Struct, frozen=True):
    """What became of the sessions of a transfer.

    Attributes:
        copied: How many were written, unfinished copies that were finished included.
        messages: How many messages were written.
        equal: How many were there already, and the same.
        expired: How many are older than the target keeps any: they were left out.
        different: Those that were there already and are not the same. They were not touched.
        failed: Those that could not be read or written.
        verified: How many were compared message by message; 0 unless that was asked for.
    """

    copied: int = 0
    messages: int = 0
    equal: int = 0
    expired: int = 0
    different: list[LeftSession] = []
    failed: list[LeftSession] = []
    verified: int = 0

    @property
    def complete(self) -> bool:
        """Whether no session is different, and none has failed."""
        return not (self.different or self.failed)
