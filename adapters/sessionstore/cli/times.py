"""Moments and spans of time, as people write them on a command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from sessionstore.cli.ending import UsageError

__all__ = ["moment", "shown"]

_SPAN = re.compile(r"(\d+)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SAYS = "write 90s, 30m, 12h, 7d or 2w for so long ago, or 2026-11-29 or 2026-11-29T21:30:00Z"


def moment(text: str | None, option: str) -> datetime | None:
    """Read a moment: so long ago, or a date and a time, which is local unless it says otherwise.

    Args:
        text: What the option was given.
        option: Its name, for the error.

    Raises:
        UsageError: It is neither.
    """
    if text is None:
        return None
    try:
        if span := _SPAN.fullmatch(text.strip().lower()):
            ago = timedelta(**{_UNITS[span[2]]: int(span[1])})
            return datetime.now(timezone.utc) - ago
        # Python 3.10 reads no Z.
        read = datetime.fromisoformat(re.sub(r"(?i)z$", "+00:00", text.strip()))
        return read.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} is no time: {_SAYS}") from None


def shown(at: datetime) -> str:
    """Write a moment, in UTC, to the second."""
    return f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"
