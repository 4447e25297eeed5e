"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from statistics import median
from time import perf_counter
from typing import Literal, TypeAlias

import msgspec

__all__ = ["REACH", "Finding", "State", "clock", "failed", "latency", "ok", "reached", "warning"]

State: TypeAlias = Literal["ok", "warning", "failed"]

REACH = "reach"
"""The check that a store is reached: where it fails, nothing else is known."""

_TIMES = 5
_AHEAD = timedelta(seconds=5)


class Finding(msgspec.Struct, frozen=True):
    """What a check has found.

    Attributes:
        check: What was looked at.
        state: ``"ok"``; ``"warning"``: it works, but see to it; ``"failed"``: it does not.
        text: What was found, and what to do about it.
    """

    check: str
    state: State
    text: str


def ok(check: str, text: str) -> Finding:
    """Give what is well."""
    return Finding(check, "ok", text)


def warning(check: str, text: str) -> Finding:
    """Give what somebody should see to."""
    return Finding(check, "warning", text)


def failed(check: str, text: str) -> Finding:
    """Give what does not work."""
    return Finding(check, "failed", text)


def latency(ask: Callable[[], object]) -> Finding:
    """Tell how long a request takes, in the middle of five."""
    times = []
    for _ in range(_TIMES):
        began = perf_counter()
        ask()
        times.append(perf_counter() - began)
    return ok("latency", f"{median(times) * 1000:.1f} ms, the median of {_TIMES} requests")


def reached(store: object, connect: Callable[[], object]) -> Finding:
    """Tell how long it takes to reach a server, connecting included."""
    began = perf_counter()
    connect()
    took = (perf_counter() - began) * 1000
    return ok(REACH, f"{store!r} answered in {took:.1f} ms, connecting included")


def clock(read: Callable[[], datetime]) -> Finding:
    """Compare a server's clock with this machine's.

    The server's decides; what is shown beside messages is this machine's.
    """
    before = datetime.now(timezone.utc)
    theirs = read()
    after = datetime.now(timezone.utc)
    off = max(theirs - after, before - theirs, timedelta())
    if off > _AHEAD:
        text = f"the clocks differ by {off.total_seconds():.0f} s: have both set by NTP"
        return warning("clock", f"{text}. The server's decides what expires")
    return ok("clock", "the server's and this machine's agree")
