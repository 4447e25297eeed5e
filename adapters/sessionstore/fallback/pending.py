"""What a `FallbackSessionStore` tells about itself: the writes that wait, and its counts."""

from __future__ import annotations

from typing import Any

import msgspec

from sessionstore.operations import Operation
from sessionstore.stats import StoreStats

__all__ = ["FallbackStats", "PendingWrite"]

_set = msgspec.structs.force_setattr


class PendingWrite(msgspec.Struct, frozen=True):
    """A write that a fallback has journaled for its primary.

    Attributes:
        operation: What the caller asked for: an `Append`, `Create`, `Restore`, `ReplaceMessage`,
            `DeleteMessages`, `Update` or `Delete` of `sessionstore.operations`, which
            `SessionStore.run` carries out. ``None`` of one in ``rejected()`` that can't be read: it
            is damaged, or a newer version wrote it.
        id: The write's own id. Of one that can't be read: the session of the fallback store that
            holds it, a slash, and its place or id there.
        reason: Of one in ``rejected()``: the name of the error, such as ``"SessionAccessError"``;
            ``"CorruptMessageError"`` of one that can't be read.
        session_id: The session; empty where it is not known.
    """

    operation: Operation[Any] | None
    id: str = ""
    reason: str = ""
    session_id: str = ""

    def __post_init__(self) -> None:
        """Name the session that the operation is about."""
        if self.operation is not None:
            _set(self, "session_id", self.operation.about or "")


class FallbackStats(StoreStats, frozen=True):
    """What a `FallbackSessionStore` has done so far, beside what every store counts.

    What is counted here begins anew in a forked child, whose outages are its own.

    Attributes:
        fallbacks: How often the primary was given up.
        recoveries: How often it came back.
        probes: How often it was tried in between.
        journaled: Writes journaled for it.
        replayed: Writes replayed to it.
        seconds_degraded: For how long it was away, in all.
        slow_sessions: Sessions that the primary did not answer for in time, and that are left
            alone now, each by itself.
    """

    fallbacks: int = 0
    recoveries: int = 0
    probes: int = 0
    journaled: int = 0
    replayed: int = 0
    seconds_degraded: float = 0.0
    slow_sessions: int = 0
