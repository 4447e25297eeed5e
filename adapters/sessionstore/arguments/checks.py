"""What callers hand to a store: checked, and made ready, before anything is done with it."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from sessionstore.arguments.messages import TOO_DEEP, is_deep
from sessionstore.errors import (
    InvalidSessionError,
    InvalidTypeError,
    SessionConflictError,
)

__all__ = [
    "NO_LIMIT",
    "checked_flag",
    "checked_last",
    "checked_lease_seconds",
    "checked_limit",
    "checked_metadata",
    "checked_moment",
    "checked_seconds",
    "checked_token",
    "checked_version",
    "checked_wait",
    "require_version",
]

NO_LIMIT = 2**31 - 1
"""As good as no limit: drivers refuse a number that is larger than theirs."""


def require_version(version: int, expected_version: int | None) -> None:
    """Refuse a writer who has not seen the session's last version.

    Args:
        version: What the session is at; 0 where it is not there.
        expected_version: What the caller last saw; ``None`` where nothing is to be checked.

    Raises:
        SessionConflictError: They differ.
    """
    if expected_version is not None and version != expected_version:
        msg = (
            f"the session is at version {version}, not {expected_version}: "
            "read it again, then decide"
        )
        raise SessionConflictError(msg)


def checked_limit(value: object) -> int | None:
    """Check how many messages a caller wants.

    Args:
        value: The number, or ``None`` for all.

    Returns:
        The number, at most `NO_LIMIT`; or ``None``.

    Raises:
        InvalidSessionError: It is neither ``None`` nor a whole number of 0 or more.
    """
    if value is None:
        return None
    if type(value) is int and value >= 0:
        return min(value, NO_LIMIT)
    raise _refusal(
        value, "limit must be a whole number of 0 or more: how many messages; or None for all"
    )


def checked_last(value: object) -> int:
    """Check how many messages a list is to show of each session.

    Args:
        value: The number.

    Returns:
        The same.

    Raises:
        InvalidSessionError: It is not a whole number from 0 to 100.
    """
    if type(value) is int and 0 <= value <= _MOST_SHOWN:
        return value
    raise _refusal(
        value, f"last must be a whole number from 0 to {_MOST_SHOWN}: messages a session"
    )


_MOST_SHOWN = 100


def checked_moment(value: object, name: str) -> datetime:
    """Check a moment that sessions are picked by.

    Args:
        value: What the caller gave.
        name: What to call it in an error.

    Returns:
        The moment in UTC.

    Raises:
        InvalidSessionError: It is no aware datetime, or not within the years 1 to 9999 in UTC.
    """
    if not isinstance(value, datetime):
        kind = type(value).__name__
        raise InvalidTypeError(f"{name} must be a datetime with a timezone, not {kind}")
    if value.utcoffset() is None:
        hint = "as datetime.now(timezone.utc) has; moment.astimezone() takes it for local time"
        raise InvalidSessionError(f"{name} must have a timezone, {hint}")
    try:
        return value.astimezone(timezone.utc)
    except OverflowError as error:
        raise InvalidSessionError(f"{name} must be within the years 1 to 9999, UTC") from error


def checked_version(value: object) -> int | None:
    """Check the version that a caller expects.

    Args:
        value: The version, or ``None`` for any.

    Returns:
        The same.

    Raises:
        InvalidSessionError: It is neither ``None`` nor a whole number of 0 or more.
    """
    if value is None or (type(value) is int and value >= 0):
        return value
    raise _refusal(value, "expected_version must be a whole number of 0 or more, or None")


def _refusal(value: object, words: str) -> InvalidSessionError:
    return InvalidSessionError(words) if type(value) is int else InvalidTypeError(words)


def checked_flag(value: object, name: str) -> bool:
    """Check what is yes or no.

    Args:
        value: What the caller gave.
        name: What to call it in an error.

    Returns:
        The same.

    Raises:
        InvalidTypeError: It is neither ``True`` nor ``False``.
    """
    if type(value) is bool:
        return value
    raise InvalidTypeError(f"{name} must be True or False, not {type(value).__name__}")


def checked_seconds(value: object, name: str = "timeout") -> float:
    """Check how long something may take.

    Args:
        value: What the caller gave.
        name: What to call it in an error.

    Returns:
        The same.

    Raises:
        TypeError: It is not a number.
        ValueError: It is not above 0, or longer than a system's clocks can say.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number of seconds above 0")
    if value > _LONGEST:
        raise ValueError(f"{name} must be a number of seconds of at most {_LONGEST:,}")
    return value


def checked_lease_seconds(value: object) -> float:
    """Check how long a lease is to last.

    Args:
        value: What the caller gave.

    Returns:
        The same, as a float.

    Raises:
        InvalidSessionError: It is not a number of seconds above 0 and of at most a day.
    """
    return _within_a_day(value, "seconds", 0.001, "from 0.001 to 86,400: how long the lease lasts")


def checked_wait(value: object, name: str = "wait") -> float:
    """Check how long a caller waits for a lease.

    Args:
        value: What the caller gave.
        name: What to call it in an error.

    Returns:
        The same, as a float.

    Raises:
        InvalidSessionError: It is not a number of seconds from 0 to a day.
    """
    return _within_a_day(value, name, 0, "from 0 to 86,400: how long to wait for the lease")


_A_DAY = 86_400


def _within_a_day(value: object, name: str, least: float, words: str) -> float:
    words = f"{name} must be a number of seconds {words}"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InvalidTypeError(f"{words}; not {type(value).__name__}")
    if not least <= value <= _A_DAY:
        raise InvalidSessionError(words)
    return float(value)


def checked_token(value: object) -> int:
    """Check the token of a lease.

    Args:
        value: What the caller gave.

    Returns:
        The same.

    Raises:
        InvalidSessionError: It is no whole number from 0 to 2**63 - 1.
    """
    if type(value) is int and 0 <= value < 2**63:
        return value
    raise _refusal(value, "token must be a whole number: the token of a lease")


_LONGEST = 10**9  # thirty years; from ten times as many on, sockets overflow


def checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Check that metadata is a dict, and how deep; what it holds is seen when it is encoded.

    Args:
        metadata: What the caller gave.

    Returns:
        The same.

    Raises:
        InvalidSessionError: It is not a dict, or nested deeper than `MAX_DEPTH`.
    """
    if not isinstance(metadata, dict):
        kind = type(metadata).__name__
        raise InvalidTypeError(f"metadata must be a dict, a JSON object, not {kind}")
    if is_deep(metadata):
        raise InvalidSessionError(f"the metadata is nested too deep: {TOO_DEEP}")
    return metadata
