"""Waiting for a condition, never for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_until"]

_PATIENCE = 30.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again until the condition holds.

    Args:
        condition: What is waited for.

    Raises:
        TimeoutError: It did not come to hold within reason.
    """
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("timed out waiting")
        time.sleep(0.01)
