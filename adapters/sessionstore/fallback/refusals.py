"""`Refusals`: when a write that the primary keeps failing is given up, to be set aside."""

from __future__ import annotations

import time

import msgspec

from sessionstore.errors import (
    CorruptMessageError,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionNotFoundError,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)

__all__ = ["REFUSED", "Refusals"]

# What a primary answers to a write that it will never take. All else may pass: a full disk, say.
REFUSED = (
    CorruptMessageError,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionNotFoundError,
)

# So often, and for so many seconds, a write is tried while the primary takes others. One that
# fails by being slow may wait for a lock: it is given far longer.
_TRIES, _PATIENCE = 5, 60.0
_MOST = 10_000
_LATE_TRIES, _LATE_PATIENCE = 8, 900.0


class _Failed(msgspec.Struct):
    since: float
    taken: int
    tries: int = 0


class Refusals:
    """Tells a write that the primary can't take from a primary that takes none."""

    def __init__(self) -> None:
        self.taken: int = 0
        """How many writes the primary has taken, while others waited for it."""
        self._failed: dict[str, _Failed] = {}

    def is_final(self, write_id: str, error: SessionStoreError, *, whole: bool) -> bool:
        """Tell whether a write is to be tried no more.

        Args:
            write_id: The write.
            error: How it has failed this time.
            whole: It was given the primary's whole timeout.
        """
        if isinstance(error, REFUSED):
            return True
        if isinstance(error, StoreUnavailableError) and not (
            whole and isinstance(error, StoreTimeoutError)
        ):
            return False
        now = time.monotonic()
        if len(self._failed) >= _MOST:  # those of sessions that another process has taken over
            self._failed.clear()
        failed = self._failed.setdefault(write_id, _Failed(now, self.taken))
        failed.tries += 1
        late = isinstance(error, StoreTimeoutError)
        tries, patience = (_LATE_TRIES, _LATE_PATIENCE) if late else (_TRIES, _PATIENCE)
        return (
            failed.tries >= tries and now - failed.since >= patience and self.taken > failed.taken
        )

    def forget(self, write_id: str) -> None:
        """Let go of a write: it was taken, or set aside."""
        self._failed.pop(write_id, None)
