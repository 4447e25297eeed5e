"""What the scripts refuse, as errors of the contract."""

from __future__ import annotations

from typing import Any, NoReturn

from sessionstore.errors import (
    CorruptMessageError,
    InvalidMessageError,
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionLeasedError,
    SessionNotFoundError,
    SessionStoreError,
    StoreTimeoutError,
)
from sessionstore.leases import leased_error, require_lease
from sessionstore.redis.requests import Reply

__all__ = ["REFUSALS", "UNKNOWN", "refuse"]

UNKNOWN = "the connection to Redis broke: whether this was written before that can't be known"

REFUSALS: dict[bytes, tuple[type[SessionStoreError], str]] = {
    b"ACCESS": (SessionAccessError, "this session belongs to another user"),
    b"EXISTS": (SessionExistsError, "session {session!r} is already there"),
    b"CONFLICT": (
        SessionConflictError,
        "the session is at version {detail}, not {expected}: read it again, then decide",
    ),
    b"NO-SESSION": (SessionNotFoundError, "there is no session {session!r}"),
    b"NO-MESSAGE": (SessionNotFoundError, "the session has no message {message!r}"),
    b"NO-BEFORE": (InvalidMessageError, "the session has no message {message!r} to go before"),
    b"NO-AFTER": (InvalidMessageError, "the session has no message {message!r} to go on from"),
    b"UNKNOWN": (StoreTimeoutError, UNKNOWN),
    b"VOID": (StoreTimeoutError, "this write was given up before it arrived"),
    b"CORRUPT": (
        CorruptMessageError,
        "session {session!r} is not whole: one of its keys was changed or evicted",
    ),
    b"LEASED": (SessionLeasedError, ""),
    b"LOST": (SessionLeasedError, ""),
}
"""By the first word of a script's reply: the error, and its words, where it has not its own."""


def refuse(reply: Reply, operation: Any, message: str | None = None) -> NoReturn:
    """Raise the error for a reply.

    Args:
        reply: One whose first word is among `REFUSALS`.
        operation: What was asked for.
        message: The id of the message that it is about, if there is one.
    """
    require_lease(reply[0] != b"LOST")
    if reply[0] == b"LEASED":
        raise leased_error(int(reply[1]) / 1_000_000)
    kind, words = REFUSALS[reply[0]]
    expected = getattr(operation, "expected_version", None)
    raise kind(
        words.format(
            session=operation.session_id, expected=expected, message=message, detail=reply[-1]
        )
    )
